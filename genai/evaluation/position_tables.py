"""Whether a graph's tables of positions reach as far as the context that the configuration promises.

Knows two kinds: the rotary tables that GroupQueryAttention reads, which refuses a sequence longer than they are, stored
or computed from their frequencies when the graph is loaded; and a table whose rows are looked up by position (learned positions, RotaryEmbedding's tables), where no row may be missing.
A graph that makes its tables or its positions in another way is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from genai.evaluation.graphs import FolderGraphs
from genai.folder import ModelFolder
from genai.graph.names import NUM_ROTARY_POSITIONS, POSITION_IDS, ROPE_SWITCH_LENGTH
from genai.graph.operators import (
    GATHER,
    GATHER_BLOCK_QUANTIZED,
    GROUP_QUERY_ATTENTION,
    ONNX_ROTARY_EMBEDDING,
    ROTARY_EMBEDDING,
    find_operator,
)

__all__ = ["tables_too_short"]

_LOOK_UPS = {
    GATHER: ("data", "indices"),
    GATHER_BLOCK_QUANTIZED: ("data", "indices"),
    ROTARY_EMBEDDING: ("cos_cache", "position_ids"),
    ONNX_ROTARY_EMBEDDING: ("cos_cache", "position_ids"),
}
"""As which operands operators read a table and its rows' numbers."""


def tables_too_short(folder: ModelFolder, graphs: FolderGraphs) -> Iterator[str]:
    """Yield a problem for every kind of table that has fewer rows than the context has positions.

    Graphs with two rotary tables in one, of which a length chooses, are passed over: their rows are not positions.
    """
    for model in graphs.models.values():
        switches = {entry.key.rpartition(".")[2] for entry in model.metadata_props}
        if ROPE_SWITCH_LENGTH in switches or (
            folder.manifest and ROPE_SWITCH_LENGTH in folder.manifest.attributes
        ):
            return
    context = folder.decoder.context_length
    positions = folder.decoder.names.position_ids
    for path, model in graphs.models.items():
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for kind, rows in (
            ("rotary tables", _rows_of_attention(model.graph, tensors)),
            ("rotary tables", _computed_rows(tensors)),
            ("a table", _rows_by_position(model.graph, tensors, {POSITION_IDS, positions})),
        ):
            if rows is not None and rows < context:
                has = f"{path.name} has {kind} for {rows} positions only"
                yield f"the configuration says context_length {context}, but {has}"


def _rows_of_attention(graph: GraphProto, tensors: Mapping[str, TensorProto]) -> int | None:
    """Return how many positions the shortest rotary table has; None if no attention reads a constant one."""
    found = [
        tensors[table].dims[0]
        for node in graph.node
        if GROUP_QUERY_ATTENTION.is_type_of(node.domain, node.op_type) and _integer(node, "do_rotary")
        if (table := GROUP_QUERY_ATTENTION.find("cos_cache", node.input) or "") in tensors
    ]
    return min(found, default=None)


def _computed_rows(tensors: Mapping[str, TensorProto]) -> int | None:
    """Return how many positions the rotary tables have that the graph computes; None if it computes none."""
    length = tensors.get(NUM_ROTARY_POSITIONS)
    return None if length is None else int(numpy_helper.to_array(length))


def _rows_by_position(
    graph: GraphProto, tensors: Mapping[str, TensorProto], positions: set[str]
) -> int | None:
    """Return how many positions the table has whose rows are looked up by position; None if there is none."""
    producers = {output: node for node in graph.node for output in node.output}
    found = []
    for node in graph.node:
        operator = find_operator(node.domain, node.op_type)
        if operator not in _LOOK_UPS or _axis(node) != 0:
            continue
        table, rows = (operator.find(operand, node.input) or "" for operand in _LOOK_UPS[operator])
        first_row = _first_row(rows, producers, tensors, positions) if rows and table in tensors else None
        if first_row is not None:
            found.append(tensors[table].dims[0] - first_row)
    return min(found, default=None)


def _first_row(
    value: str,
    producers: Mapping[str, NodeProto],
    tensors: Mapping[str, TensorProto],
    positions: set[str],
) -> int | None:
    """Return the row that a position of 0 looks up; None if the row is not a position plus a constant."""
    if value in positions:
        return 0
    node = producers.get(value)
    if node is None:
        return None
    if node.op_type == "Cast":
        return _first_row(node.input[0], producers, tensors, positions)
    if node.op_type == "Add":
        for position, other in (node.input, reversed(node.input)):
            offset = tensors.get(other)
            if offset is None or not _is_number(offset):
                continue
            start = _first_row(position, producers, tensors, positions)
            if start is not None:
                return start + int(numpy_helper.to_array(offset).reshape(()))
    return None


def _axis(node: NodeProto) -> int:
    """Return the axis along which rows are looked up."""
    return _integer(node, "axis" if node.op_type == "Gather" else "gather_axis")


def _is_number(tensor: TensorProto) -> bool:
    return tensor.data_location != TensorProto.EXTERNAL and set(tensor.dims) <= {1}


def _integer(node: NodeProto, name: str) -> int:
    """Return an integer attribute; 0, the default of those asked for here, where the node does not have it."""
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)
