"""What GroupQueryAttention tells of a graph: which caches it shares, and which values its lengths come from."""

from __future__ import annotations

from collections import Counter

from onnx import GraphProto, NodeProto, TensorProto

from genai.graph.axes import INPUT_SHAPES
from genai.graph.names import POSITION_IDS, SEQLENS_K, TOTAL_SEQUENCE_LENGTH
from genai.graph.operators import GROUP_QUERY_ATTENTION, SHARING_OPERATORS
from genai.runtime.adapt.graph import operands, promote, remove_attribute

__all__ = ["keep_whole_windows", "promote_lengths", "shared_caches"]

PASTS = ("past_key", "past_value")


def keep_whole_windows(graph: GraphProto) -> None:
    """Let attention over a sliding window keep what has left the window, as slots that are shared and cut back need it.

    The operator can instead keep a buffer of the window's length alone, which it moves on by itself. Which positions are
    seen is the same.
    """
    for node in _attentions(graph):
        remove_attribute(node, "sliding_window_cache")


def promote_lengths(graph: GraphProto) -> None:
    """Make inputs of what every attention node is told of lengths and positions."""
    attentions = _attentions(graph)
    for name in (SEQLENS_K, TOTAL_SEQUENCE_LENGTH):  # the operands are called like the inputs
        value = _operand(attentions, name)
        if value:
            promote(graph, value, name, TensorProto.INT32, INPUT_SHAPES[name])
    positions = _operand(attentions, POSITION_IDS) or POSITION_IDS
    promote(graph, positions, POSITION_IDS, TensorProto.INT64, INPUT_SHAPES[POSITION_IDS])


def shared_caches(graph: GraphProto) -> frozenset[str]:
    """Return the inputs that a run may overwrite in place: an attention node reads them, and nothing else."""
    inputs = {value.name for value in graph.input}
    readers = Counter(value for node in graph.node for value in operands(node))
    pasts = {
        operator.find(past, node.input) or ""
        for node in graph.node
        for operator in SHARING_OPERATORS
        if operator.is_type_of(node.domain, node.op_type)
        for past in PASTS
    }
    return frozenset(past for past in pasts if past in inputs and readers[past] == 1)


def _attentions(graph: GraphProto) -> list[NodeProto]:
    return [node for node in graph.node if GROUP_QUERY_ATTENTION.is_type_of(node.domain, node.op_type)]


def _operand(nodes: list[NodeProto], operand: str) -> str | None:
    """Return the one value that all nodes have as an operand; None where they disagree or have none."""
    values = {GROUP_QUERY_ATTENTION.find(operand, node.input) for node in nodes}
    return values.pop() if len(values) == 1 else None
