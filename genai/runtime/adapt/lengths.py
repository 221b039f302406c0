"""What GroupQueryAttention tells of a graph: which caches it shares, and which values its lengths come from."""

from __future__ import annotations

from collections import Counter

from onnx import GraphProto, NodeProto, TensorProto

from genai.runtime.adapt.graph import operands, promote

__all__ = ["keep_whole_windows", "promote_lengths", "shared_caches"]

# Inputs by position (com.microsoft operator schemas).
PAST = (3, 4)
SEQLENS_K, TOTAL_SEQUENCE_LENGTH, POSITION_IDS = 5, 6, 9

SHARING_OPERATORS = ("GroupQueryAttention", "SparseAttention")
"""Operators that write new positions into the memory of the past, where that is the memory of the present too."""


def keep_whole_windows(graph: GraphProto) -> None:
    """Let attention over a sliding window keep what has left the window, as slots that are shared and cut back need it.

    The operator can instead keep a buffer of the window's length alone, which it moves on by itself. Which positions are
    seen is the same.
    """
    for node in graph.node:
        if node.op_type == "GroupQueryAttention":
            kept = [attribute for attribute in node.attribute if attribute.name != "sliding_window_cache"]
            del node.attribute[:]
            node.attribute.extend(kept)


def promote_lengths(graph: GraphProto) -> None:
    """Make inputs of what every attention node is told of lengths and positions."""
    attention = [node for node in graph.node if node.op_type == "GroupQueryAttention"]
    for position, name, dtype, shape in (
        (SEQLENS_K, "seqlens_k", TensorProto.INT32, ["batch_size"]),
        (TOTAL_SEQUENCE_LENGTH, "total_sequence_length", TensorProto.INT32, []),
    ):
        value = _operand(attention, position)
        if value:
            promote(graph, value, name, dtype, shape)
    positions = _operand(attention, POSITION_IDS) or "position_ids"
    promote(graph, positions, "position_ids", TensorProto.INT64, ["batch_size", "sequence_length"])


def shared_caches(graph: GraphProto) -> frozenset[str]:
    """Return the inputs that a run may overwrite in place: an attention node reads them, and nothing else."""
    inputs = {value.name for value in graph.input}
    readers = Counter(value for node in graph.node for value in operands(node))
    return frozenset(
        node.input[position]
        for node in graph.node
        if node.op_type in SHARING_OPERATORS
        for position in PAST
        if position < len(node.input)
        and node.input[position] in inputs
        and readers[node.input[position]] == 1
    )


def _operand(nodes: list[NodeProto], position: int) -> str | None:
    """Return the one value that all nodes have at a position; None where they disagree or have none."""
    names = {node.input[position] if position < len(node.input) else "" for node in nodes}
    return (names.pop() or None) if len(names) == 1 else None
