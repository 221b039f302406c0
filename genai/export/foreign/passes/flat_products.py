"""A product over rows and positions in one axis becomes one over both axes, without the reshapes around it."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.foreign.passes.graph_edit import GraphEdit
from genai.export.foreign.passes.graph_queries import is_op, only_consumer, producer_of
from genai.export.foreign.passes.probe import Prober, Sizes
from genai.export.foreign.passes.unprovable import Unprovable

__all__ = ["unflatten_products"]

SIZES = (Sizes(2, 3, 5), Sizes(3, 0, 7), Sizes(1, 6, 1))


def unflatten_products(model: ir.Model) -> int:
    """Replace each Gemm between two reshapes by MatMul and Add, and return how many there were."""
    prober, edit = Prober(model), GraphEdit(model.graph, "flat_products")
    count = 0
    for node in list(model.graph):
        unflattened = _unflattened(prober, node)
        if unflattened is None:
            continue
        source, result = unflattened
        here = edit.before(node)
        product = here.op("MatMul", [source, node.inputs[1]])
        product.type = source.type
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            product = here.op("Add", [product, node.inputs[2]])
            product.type = source.type
        result.replace_all_uses_with(product)
        count += 1
    return count


def _unflattened(prober: Prober, node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """Return what a Gemm's rows were before, and what its result becomes; None if it is no such Gemm."""
    is_plain = (
        is_op(node, "Gemm")
        and node.attributes.get_float("alpha", 1.0) == node.attributes.get_float("beta", 1.0) == 1.0
        and not node.attributes.get_int("transA", 0)
        and not node.attributes.get_int("transB", 0)
    )
    before = producer_of(node.inputs[0], "Reshape") if is_plain else None
    after = only_consumer(node.outputs[0]) if before is not None else None
    if before is None or after is None or not is_op(after, "Reshape") or after.outputs[0].is_graph_output():
        return None
    source = before.inputs[0]
    assert source is not None
    result = after.outputs[0]
    try:
        for sizes in SIZES:
            probe = prober.at(sizes)
            shape = probe.shape(source)
            width = probe.shape(node.outputs[0])[-1]
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            if (
                probe.shape(result) != (*shape[:-1], width)
                or probe.shape(before.outputs[0])[-1] != shape[-1]
                or (bias is not None and probe.shape(bias) != (width,))
            ):
                return None
    except Unprovable:
        return None
    return source, result
