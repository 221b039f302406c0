"""Walking and changing a graph's protobuf: what all adaptations need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from genai.graph.opset import ONNX_DOMAINS

__all__ = [
    "attributes_of",
    "find_float_constant",
    "number_of",
    "operands",
    "opset_of",
    "producer_of",
    "promote",
    "remove_attribute",
    "remove_unused",
    "rename_values",
    "subgraphs_of",
]


def producer_of(graph: GraphProto, value: str) -> NodeProto | None:
    """Return the node that gives a value; None if it is an input, an initializer, or unknown."""
    return next((node for node in graph.node if value in node.output), None)


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model has."""
    return next((opset.version for opset in model.opset_import if opset.domain in ONNX_DOMAINS), 1)


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def remove_attribute(node: NodeProto, name: str) -> None:
    """Drop an attribute, if the node has it."""
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def find_float_constant(
    value: str, producers: Mapping[str, NodeProto], initializers: Mapping[str, TensorProto]
) -> TensorProto | None:
    """Return the initializer that a value of float32 is, or is cast from; None if it is none."""
    producer, dtype = producers.get(value), None
    if producer is not None and producer.op_type == "Cast":
        value, dtype = producer.input[0], attributes_of(producer)["to"]
    tensor = initializers.get(value)
    is_float32 = tensor is not None and (dtype or tensor.data_type) == TensorProto.FLOAT
    return tensor if is_float32 else None


def operands(node: NodeProto) -> Iterator[str]:
    """Yield every value that a node or its subgraphs read."""
    yield from node.input
    for subgraph in subgraphs_of(node):
        for inner in subgraph.node:
            yield from operands(inner)
        yield from (output.name for output in subgraph.output)


def subgraphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs among a node's attributes, such as the branches of an If."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def number_of(graph: GraphProto, value: str) -> float | None:
    """Return the number that a constant of one element holds; None for everything else, weights outside included."""
    tensor = next((each for each in graph.initializer if each.name == value), None)
    if tensor is None:
        node: NodeProto | None = producer_of(graph, value)
        if node is None or node.op_type != "Constant":
            return None
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
    if tensor is None or tensor.data_location == TensorProto.EXTERNAL or np.prod(tensor.dims, dtype=int) != 1:
        return None
    return float(numpy_helper.to_array(tensor).reshape(()))


def rename_values(graph: GraphProto, renamed: Mapping[str, str]) -> None:
    """Rename values wherever they are read, given, declared or captured by a subgraph."""
    for node in graph.node:
        for values in (node.input, node.output):
            for index, value in enumerate(values):
                if value in renamed:
                    values[index] = renamed[value]
        for subgraph in subgraphs_of(node):
            rename_values(subgraph, renamed)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = renamed.get(sparse.values.name, sparse.values.name)


def promote(graph: GraphProto, value: str, name: str, dtype: int, shape: Sequence[str | int]) -> bool:
    """Make a value that some node gives an input of the graph called `name`; return whether it was one."""
    producer = producer_of(graph, value)
    if producer is None:
        return False
    for index, output in enumerate(producer.output):
        if output == value:
            producer.output[index] = f"{value}.derived"
    for node in graph.node:
        if value in operands(node):
            _replace_operand(node, value, name)
    if all(each.name != name for each in graph.input):
        graph.input.append(helper.make_tensor_value_info(name, dtype, shape))
    return True


def remove_unused(graph: GraphProto) -> None:
    """Drop every node, initializer and input that no output needs."""
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(operands(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    for values in (graph.initializer, graph.input):
        for index in reversed(range(len(values))):
            if values[index].name not in needed:
                del values[index]


def _replace_operand(node: NodeProto, value: str, name: str) -> None:
    for index, operand in enumerate(node.input):
        if operand == value:
            node.input[index] = name
    for subgraph in subgraphs_of(node):
        for inner in subgraph.node:
            _replace_operand(inner, value, name)
        for output in subgraph.output:
            if output.name == value:  # captured and given back as it is
                subgraph.node.append(helper.make_node("Identity", [name], [value]))
