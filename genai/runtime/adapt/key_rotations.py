"""Where a graph turns keys by their positions before it caches them: who wants to move them has to turn them on.

What is not understood is said, never guessed: a key that is moved without the turn it needs attends wrongly, and silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import GraphProto, NodeProto

from genai.graph.operators import GROUP_QUERY_ATTENTION, Operator, find_operator
from genai.runtime.adapt.graph import attributes_of

__all__ = ["KeyRotation", "NotMovableError", "find_key_rotations"]

PRODUCTS = frozenset({"FusedMatMul", "Gemm", "MatMul", "MatMulNBits"})
"""What keys come from."""
NEUTRAL = frozenset(
    {
        *("Add", "Cast", "Clip", "Identity", "LayerNormalization", "Mul", "RMSNormalization", "Reshape", "Slice", "Split"),
        *("SimplifiedLayerNormalization", "Transpose"),
    }
)  # fmt: skip
"""What may be done to keys before or without a rotation: it treats all positions alike, as far as it reads nothing else."""
PASSING = frozenset({"Identity", "Reshape"})
"""What may be done behind it: the elements of a key stay where they are."""
TABLES = ("cos_cache", "sin_cache")


class NotMovableError(Exception):
    """Why keys cannot be moved to other positions."""


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """A rotary embedding of keys.

    Args:
        cos: The value that is the table of cosines, [positions, dim / 2].
        sin: That of sines.
        interleaved: Whether neighbours turn.
        is_at_end: Whether the last elements of a key turn, not the first.
    """

    cos: str
    sin: str
    interleaved: bool
    is_at_end: bool = False


def find_key_rotations(graph: GraphProto) -> dict[str, KeyRotation | None]:
    """Return for each input that holds past keys how they were turned, `None` where they were not; for values likewise.

    Raises:
        NotMovableError: That cannot be told, or positions come in otherwise.
    """
    producers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    found: dict[str, KeyRotation | None] = {}
    for node in graph.node:
        if find_operator(node.domain, node.op_type) is not GROUP_QUERY_ATTENTION:
            continue
        past_key, past_value = (
            str(GROUP_QUERY_ATTENTION.find(name, node.input)) for name in ("past_key", "past_value")
        )
        if GROUP_QUERY_ATTENTION.find("attention_bias", node.input):
            raise NotMovableError("its scores have a bias by position (ALiBi, or chunks)")
        found[past_value] = None
        found[past_key] = _rotation_of(node, producers, constants)
    return found


def _rotation_of(
    node: NodeProto, producers: Mapping[str, NodeProto], constants: set[str]
) -> KeyRotation | None:
    """Return how an attention's new keys are turned, by itself or before it."""
    attributes = attributes_of(node)
    if attributes.get("do_rotary"):
        return _rotation(node, GROUP_QUERY_ATTENTION, bool(attributes.get("rotary_interleaved")))
    key = GROUP_QUERY_ATTENTION.find("key", node.input) or node.input[0]
    is_at_end = False
    before = producers.get(key)
    while before is not None and (before.op_type in PASSING or _joins_last(before)):
        is_at_end |= before.op_type == "Concat"
        before = producers.get(before.input[-1] if before.op_type == "Concat" else before.input[0])
    operator = None if before is None else find_operator(before.domain, before.op_type)
    if before is not None and operator is not None and operator.op_type == "RotaryEmbedding":
        return _rotation(
            before, operator, bool(attributes_of(before).get("interleaved")), is_at_end=is_at_end
        )
    _check_unrotated(key, producers, constants)
    return None


def _rotation(
    node: NodeProto, operator: Operator, interleaved: bool, *, is_at_end: bool = False
) -> KeyRotation:
    cos, sin = (str(operator.find(table, node.input)) for table in TABLES)
    return KeyRotation(cos, sin, interleaved, is_at_end)


def _joins_last(node: NodeProto) -> bool:
    """Whether a node puts something in front of each key."""
    return node.op_type == "Concat" and attributes_of(node)["axis"] == -1


def _check_unrotated(key: str, producers: Mapping[str, NodeProto], constants: set[str]) -> None:
    """See that keys come from a product, with nothing between that may know positions.

    Raises:
        NotMovableError: That cannot be told.
    """
    values, seen = [key], {key}
    while values:
        node = producers.get(values.pop())
        if node is None or node.op_type not in PRODUCTS | NEUTRAL:
            what = "an input" if node is None else node.op_type
            raise NotMovableError(f"what positions do to its keys cannot be told behind {what}")
        if node.op_type not in PRODUCTS:
            new = {value for value in node.input if value and value not in constants} - seen
            new -= {value for value in new if value in producers and producers[value].op_type == "Constant"}
            seen |= new
            values += new
