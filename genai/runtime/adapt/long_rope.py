"""The choice between two tables of positions (LongRoPE), taken out of the graph.

A graph that chooses by its mask's length gives all sequences of a run the same table, and a long prompt's first chunk
the wrong one. As an input, the choice is made for each sequence by the length it has.
"""

from __future__ import annotations

from onnx import GraphProto, TensorProto

from genai.runtime.adapt.graph import number_of, producer_of, promote

__all__ = ["promote_rope_choice"]

ROTARY_TABLES = {"GroupQueryAttention": (7, 8), "RotaryEmbedding": (2, 3)}
"""Where operators read the tables of cosines and sines (com.microsoft operator schemas)."""


def promote_rope_choice(graph: GraphProto) -> int | None:
    """Make an input `use_long_rope` of the condition that chooses the tables; return the length it switches at."""
    conditions = {_choice_behind(graph, table) for table in _tables(graph)} - {None}
    if len(conditions) != 1:
        return None
    condition = str(conditions.pop())
    length = _switch_length(graph, condition)
    if length is None:
        return None
    promote(graph, condition, "use_long_rope", TensorProto.BOOL, [])
    return length


def _tables(graph: GraphProto) -> set[str]:
    return {
        node.input[position]
        for node in graph.node
        for position in ROTARY_TABLES.get(node.op_type, ())
        if position < len(node.input) and node.input[position]
    }


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
