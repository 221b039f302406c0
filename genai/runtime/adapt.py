"""Load-time adaptation: what a graph derives for itself, or cannot be bound, becomes a plain input.

Works on the small protobuf, before the session is made; weights stay in their external file. Three promotions:

- `num_logits_to_keep`, an initializer that callers may override, which ONNX Runtime's IOBinding does not accept;
- `seqlens_k` and `total_sequence_length`, which the graph sums up from a mask that then is not needed any more;
- `position_ids`, where a graph derives them for its rotary or learned positions.

Whoever made the graph: the values are found through the GroupQueryAttention nodes that use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from genai.errors import ModelFolderError

__all__ = ["adapt_model", "read_model"]

# GroupQueryAttention's inputs by position (com.microsoft operator schema).
SEQLENS_K, TOTAL_SEQUENCE_LENGTH, POSITION_IDS = 5, 6, 9


def read_model(path: Path) -> ModelProto:
    """Read an ONNX file without its external weights.

    Raises:
        ModelFolderError: The file is not an ONNX model.
    """
    try:
        return onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelFolderError(
            f"{path}: cannot be read as an ONNX model ({error}); export it again"
        ) from error


def adapt_model(model: ModelProto) -> ModelProto:
    """Promote what can be promoted, in place, and drop what nothing needs any more."""
    graph = model.graph
    _promote_num_logits(graph)
    attention = [node for node in graph.node if node.op_type == "GroupQueryAttention"]
    _promote(graph, _operand(attention, SEQLENS_K), "seqlens_k", TensorProto.INT32, ["batch_size"])
    _promote(
        graph, _operand(attention, TOTAL_SEQUENCE_LENGTH), "total_sequence_length", TensorProto.INT32, []
    )
    positions = _operand(attention, POSITION_IDS) or "position_ids"
    _promote(graph, positions, "position_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
    _remove_unused(graph)
    return model


def _promote_num_logits(graph: GraphProto) -> None:
    name = "num_logits_to_keep"
    initializer = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    if initializer is None:
        return
    graph.initializer.remove(initializer)
    if not any(value.name == name for value in graph.input):
        graph.input.append(helper.make_tensor_value_info(name, initializer.data_type, initializer.dims))
    for output in graph.output:
        if output.name == "logits":  # its shape was declared for the initializer's value
            output.type.tensor_type.shape.dim[1].dim_param = "num_logits"


def _operand(nodes: list[NodeProto], position: int) -> str | None:
    """Return the one value that all nodes have at a position; None where they disagree or have none."""
    names = {node.input[position] if position < len(node.input) else "" for node in nodes}
    return (names.pop() or None) if len(names) == 1 else None


def _promote(graph: GraphProto, value: str | None, name: str, dtype: int, shape: list[str]) -> None:
    """Make a value that some node produces an input of the graph called `name`."""
    producer = next((node for node in graph.node if value in node.output), None) if value else None
    if producer is None or value is None:
        return
    for index, output in enumerate(producer.output):
        if output == value:
            producer.output[index] = f"{value}.derived"
    for node in graph.node:
        for index, operand in enumerate(node.input):
            if operand == value:
                node.input[index] = name
    graph.input.append(helper.make_tensor_value_info(name, dtype, shape))


def _remove_unused(graph: GraphProto) -> None:
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_operands(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for values in (graph.initializer, graph.input):
        for index in reversed(range(len(values))):
            if values[index].name not in needed:
                del values[index]


def _operands(node: NodeProto) -> Iterator[str]:
    """Yield every value that a node or its subgraphs read."""
    yield from node.input
    for attribute in node.attribute:
        for subgraph in (attribute.g, *attribute.graphs):
            for inner in subgraph.node:
                yield from _operands(inner)
            yield from (output.name for output in subgraph.output)
