"""The choice between two tables of positions (LongRoPE), taken out of the graph.

A graph that chooses by its mask's length gives all sequences of a run the same table, and a long prompt's first chunk
the wrong one. As an input, the choice is made for each sequence by the length it has.
"""

from __future__ import annotations

from onnx import GraphProto, TensorProto

from genai.graph.names import USE_LONG_ROPE
from genai.graph.operators import find_operator
from genai.runtime.adapt.graph import number_of, producer_of, promote

__all__ = ["promote_rope_choice"]

ROTARY_TABLES = ("cos_cache", "sin_cache")


def promote_rope_choice(graph: GraphProto) -> int | None:
    """Make an input `use_long_rope` of the condition that chooses the tables; return the length it switches at."""
    conditions = {_choice_behind(graph, table) for table in _tables(graph)} - {None}
    if len(conditions) != 1:
        return None
    condition = str(conditions.pop())
    length = _switch_length(graph, condition)
    if length is None:
        return None
    promote(graph, condition, USE_LONG_ROPE, TensorProto.BOOL, [])
    return length


def _tables(graph: GraphProto) -> set[str]:
    """Return the tables of cosines and sines that operators read."""
    found: set[str] = set()
    for node in graph.node:
        operator = find_operator(node.domain, node.op_type)
        for table in ROTARY_TABLES:
            if operator is not None and table in operator.operands:
                found.add(operator.find(table, node.input) or "")
    return found - {""}


def _choice_behind(graph: GraphProto, table: str) -> str | None:
    """Return the condition of the If that gives a table, directly or through operators of one input."""
    node = producer_of(graph, table)
    while node is not None and node.op_type != "If" and len(node.input) == 1:
        node = producer_of(graph, node.input[0])
    return node.input[0] if node is not None and node.op_type == "If" else None


def _switch_length(graph: GraphProto, condition: str) -> int | None:
    """Return n of a condition "length > n" or "length >= n + 1"; None if it is something else."""
    node = producer_of(graph, condition)
    if node is None or node.op_type not in ("Greater", "GreaterOrEqual"):
        return None
    limit = number_of(graph, node.input[1])
    return None if limit is None else int(limit) - (node.op_type == "GreaterOrEqual")
