"""How many positions reach the language-model head: an input that a caller can bind.

A prompt's logits are 600 KB per token of a large vocabulary, and nobody reads them. So whatever a graph does by itself
(all positions, or the last), the choice is the caller's wherever the head can be found.
"""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from genai.graph.names import LOGITS, NUM_LOGITS_TO_KEEP
from genai.graph.operators import MATMUL_NBITS
from genai.runtime.adapt.graph import number_of, producer_of

__all__ = ["find_head", "promote_num_logits"]

ELEMENTWISE = frozenset({"Add", "Cast", "Clip", "Div", "Identity", "Mul", "Neg", "Sub", "Tanh"})
PRODUCTS = frozenset({"MatMul", "FusedMatMul"})
WEIGHT_CHAIN = frozenset({"Cast", "DequantizeLinear", "Identity", "Transpose"})


def promote_num_logits(graph: GraphProto) -> bool:
    """Make a plain input of the number of positions whose logits are wanted; return whether 0 means none there.

    An initializer that callers may override is one already, but ONNX Runtime's IOBinding does not accept it. Where an
    exporter has made a plain input, 0 means all, as in the code it was traced from.
    """
    if any(value.name == NUM_LOGITS_TO_KEEP for value in graph.input) and not any(
        tensor.name == NUM_LOGITS_TO_KEEP for tensor in graph.initializer
    ):
        return False
    initializer = next((tensor for tensor in graph.initializer if tensor.name == NUM_LOGITS_TO_KEEP), None)
    if initializer is not None:
        graph.initializer.remove(initializer)
        if not any(value.name == NUM_LOGITS_TO_KEEP for value in graph.input):
            graph.input.append(
                helper.make_tensor_value_info(NUM_LOGITS_TO_KEEP, initializer.data_type, initializer.dims)
            )
    elif not _keep_before_head(graph):
        return False
    for output in graph.output:
        if output.name == LOGITS:  # its shape was declared for what the graph did by itself
            output.type.tensor_type.shape.dim[1].dim_param = "num_logits"
    return True


def _keep_before_head(graph: GraphProto) -> bool:
    """Cut what the head reads to its last positions; return whether the head was found."""
    logits = next((output for output in graph.output if output.name == LOGITS), None)
    if logits is None or len(logits.type.tensor_type.shape.dim) != 3:
        return False
    behind: set[str] = set()
    head = find_head(graph, behind)
    if head is None:
        return False
    hidden = _before_gather_of_last(graph, head.input[0])
    if hidden is None:
        if logits.type.tensor_type.shape.dim[1].dim_value == 1:
            return False  # it keeps one position by other means, and there are no others to choose from
        hidden = head.input[0]
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name in behind:  # declared for what the graph did by itself
            del graph.value_info[index]
    names = {
        part: f"{NUM_LOGITS_TO_KEEP}.{part}" for part in ("shape", "one", "two", "length", "start", "hidden")
    }
    for part, value in (("one", 1), ("two", 2)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), names[part]))
    nodes = [
        helper.make_node("Shape", [hidden], [names["shape"]]),
        helper.make_node("Slice", [names["shape"], names["one"], names["two"]], [names["length"]]),
        helper.make_node("Sub", [names["length"], NUM_LOGITS_TO_KEEP], [names["start"]]),
        helper.make_node("Slice", [hidden, names["start"], names["length"], names["one"]], [names["hidden"]]),
    ]
    head.input[0] = names["hidden"]
    place = list(graph.node).index(head)
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)
    graph.input.append(helper.make_tensor_value_info(NUM_LOGITS_TO_KEEP, TensorProto.INT64, [1]))
    return True


def find_head(graph: GraphProto, behind: set[str]) -> NodeProto | None:
    """Return the product with a constant matrix that the logits come from, with nothing but scaling behind it.

    The values from there on are added to `behind`. None if it cannot be told.
    """
    node = producer_of(graph, LOGITS)
    while node is not None and node.op_type in ELEMENTWISE:
        computed = [value for value in node.input if value and _constant_rank(graph, value) is None]
        if len(computed) != 1 or any(
            (_constant_rank(graph, value) or 0) > 1 for value in node.input if value not in (*computed, "")
        ):
            return None
        behind.update(node.output)
        node = producer_of(graph, computed[0])
    if node is None:
        return None
    behind.update(node.output)
    if MATMUL_NBITS.is_type_of(node.domain, node.op_type):
        return node
    return node if node.op_type in PRODUCTS and _constant_rank(graph, node.input[1]) == 2 else None


def _constant_rank(graph: GraphProto, value: str) -> int | None:
    """Return the number of axes of a value that is made of weights alone; None if it is not."""
    while True:
        for tensor in graph.initializer:
            if tensor.name == value:
                return len(tensor.dims)
        node = producer_of(graph, value)
        if node is None:
            return None
        if node.op_type == "Constant":
            return next((len(a.t.dims) for a in node.attribute if a.name == "value"), 0)
        if node.op_type not in WEIGHT_CHAIN:
            return None
        value = node.input[0]


def _before_gather_of_last(graph: GraphProto, value: str) -> str | None:
    """Return what a graph that keeps the last position only has taken it from; None if it keeps all."""
    unsqueeze = producer_of(graph, value)
    if unsqueeze is None or unsqueeze.op_type != "Unsqueeze":
        return None
    gather = producer_of(graph, unsqueeze.input[0])
    if gather is None or gather.op_type != "Gather":
        return None
    axis = next((attribute.i for attribute in gather.attribute if attribute.name == "axis"), 0)
    return gather.input[0] if axis == 1 and number_of(graph, gather.input[1]) == -1 else None
