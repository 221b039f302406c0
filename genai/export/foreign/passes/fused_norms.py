"""Norms written out in basic operators become one node each, the residual addition before them in it.

x / sqrt(mean(x²) + epsilon), times a weight, is an RMS norm; of x minus its mean, a layer norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from genai.export.foreign.passes.graph_edit import GraphEdit
from genai.export.foreign.passes.graph_queries import array_of, is_op, producer_of, scalar_of
from genai.export.foreign.passes.opset import raise_opset
from genai.export.foreign.passes.probe import Prober, Sizes
from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.operators import SKIP_LAYER_NORM, SKIP_RMS_NORM
from genai.graph.opset import MICROSOFT, OPSETS

__all__ = ["fuse_norms"]

SIZES = (Sizes(2, 3, 5), Sizes(1, 0, 7))
WITH_SKIP = {
    "LayerNormalization": SKIP_LAYER_NORM,
    "RMSNormalization": SKIP_RMS_NORM,
}


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm over the last axis, whatever its spelling.

    Args:
        kind: The operator it is: RMSNormalization or LayerNormalization.
        x: What is normalized.
        weight: 1-D, a constant.
        bias: Likewise, or None.
        epsilon: Added to the mean of squares.
        output: Its result.
    """

    kind: str
    x: ir.Value
    weight: ir.Value
    bias: ir.Value | None
    epsilon: float
    output: ir.Value


def fuse_norms(model: ir.Model) -> int:
    """Fuse norms, then additions into norms; return how many norms were written anew.

    Raises:
        Unprovable: There are norms to fuse, but the graph's opset cannot be raised to one that has the operator.
    """
    graph = model.graph
    norms = [norm for node in graph if (norm := _match(node)) is not None]
    if any(norm.kind == "RMSNormalization" for norm in norms):
        raise_opset(model)
    edit = GraphEdit(graph, "fused_norms")
    for norm in norms:
        node = norm.output.producer()
        assert node is not None
        operands = [norm.x, norm.weight] if norm.bias is None else [norm.x, norm.weight, norm.bias]
        fused = edit.before(node).op(norm.kind, operands, axis=-1, epsilon=norm.epsilon)
        fused.type, fused.shape = norm.output.type, norm.output.shape
        norm.output.replace_all_uses_with(fused)
    common.RemoveUnusedNodesPass()(model)
    return len(norms) + _fuse_additions(model, edit)


def _match(node: ir.Node) -> Norm | None:
    """Recognize the norm whose mean of squares a node is."""
    x = _squared(node)
    if x is None:
        return None
    scaled = _scaled(x, node.outputs[0])
    if scaled is None:
        return None
    normalized, epsilon = scaled
    # A norm of halves is computed in floats; the type's own rounding comes before the weight or behind it.
    behind, before = _reader(normalized, "Cast"), producer_of(x, "Cast")
    source = before.inputs[0] if before is not None else None
    if behind is not None and source is not None and behind.outputs[0].dtype == source.dtype:
        x, normalized = source, behind.outputs[0]
    product = _reader(normalized, "Mul")
    weight = _row(product, normalized)
    if product is None or weight is None or weight.dtype != x.dtype:
        return None
    centered = _centered(x)
    if centered is None:
        return Norm("RMSNormalization", x, weight, None, epsilon, product.outputs[0])
    addition = _reader(product.outputs[0], "Add")
    bias = _row(addition, product.outputs[0])
    output = product.outputs[0] if addition is None or bias is None else addition.outputs[0]
    return Norm("LayerNormalization", centered, weight, bias, epsilon, output)


def _squared(node: ir.Node) -> ir.Value | None:
    """Return x where a node is the mean of x² along the last axis."""
    if not _is_mean(node):
        return None
    power, product = producer_of(node.inputs[0], "Pow"), producer_of(node.inputs[0], "Mul")
    if power is not None and scalar_of(power.inputs[1]) == 2:
        return power.inputs[0]
    if product is not None and product.inputs[0] is product.inputs[1]:
        return product.inputs[0]
    return None


def _is_mean(node: ir.Node) -> bool:
    if not is_op(node, "ReduceMean") or node.attributes.get_int("keepdims", 1) != 1:
        return False
    axes = array_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return axes is not None and axes.reshape(-1).tolist() == [-1]


def _scaled(x: ir.Value, mean: ir.Value) -> tuple[ir.Value, float] | None:
    """Return x over the root of its mean square plus epsilon, and epsilon."""
    addition = _reader(mean, "Add")
    if addition is None:
        return None
    epsilon = scalar_of(addition.inputs[1] if addition.inputs[0] is mean else addition.inputs[0])
    if epsilon is None:
        return None
    root = _reader(addition.outputs[0], "Sqrt")
    if root is not None:
        division = _reader(root.outputs[0], "Div")
        if division is not None and division.inputs[0] is x and division.inputs[1] is root.outputs[0]:
            return division.outputs[0], epsilon
        reciprocal = _reader(root.outputs[0], "Reciprocal") or division
        is_inverse = reciprocal is not None and (
            reciprocal.op_type == "Reciprocal" or scalar_of(reciprocal.inputs[0]) == 1
        )
    else:
        reciprocal = _reader(addition.outputs[0], "Pow")
        is_inverse = reciprocal is not None and scalar_of(reciprocal.inputs[1]) == -0.5
    product = _reader(reciprocal.outputs[0], "Mul") if reciprocal is not None and is_inverse else None
    if product is None or x not in product.inputs:
        return None
    return product.outputs[0], epsilon


def _centered(x: ir.Value) -> ir.Value | None:
    """Return y where x is y minus its mean along the last axis."""
    difference = producer_of(x, "Sub")
    mean = producer_of(difference.inputs[1], "ReduceMean") if difference is not None else None
    if difference is None or mean is None or not _is_mean(mean) or mean.inputs[0] is not difference.inputs[0]:
        return None
    return difference.inputs[0]


def _reader(value: ir.Value, op_type: str) -> ir.Node | None:
    """Return the node that alone reads a value, if it is of this type."""
    uses = list(value.uses())
    node = uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
    return node if is_op(node, op_type) else None


def _row(node: ir.Node | None, operand: ir.Value) -> ir.Value | None:
    """Return the constant [n] that a node joins with its operand."""
    if node is None:
        return None
    other = node.inputs[1] if node.inputs[0] is operand else node.inputs[0]
    tensor = other.const_value if other is not None and not other.is_graph_input() else None
    return other if tensor is not None and len(tensor.shape) == 1 and tensor.size > 1 else None


def _fuse_additions(model: ir.Model, edit: GraphEdit) -> int:
    """Let norms of sums take the sum in, and return how many norms of the graph's own do so."""
    prober, count = Prober(model), 0
    for node in list(model.graph):
        addition = producer_of(node.inputs[0], "Add") if is_op(node, *WITH_SKIP) else None
        if addition is None or not _can_take_in(prober, node, addition):
            continue
        total, normalized = addition.outputs[0], node.outputs[0]
        operator = WITH_SKIP[node.op_type]
        outputs = edit.before(node).ops(
            operator.op_type,
            [*addition.inputs, *node.inputs[1:]],
            len(operator.outputs),
            domain=operator.domain,
            epsilon=node.attributes.get_float("epsilon", 1e-5),
        )
        for old, new in ((normalized, outputs[0]), (total, outputs[3])):
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new)
        for unused in outputs[1:3]:
            unused.name = ""
        count += 0 if str(node.name).startswith("fused_norms.") else 1
        model.graph.opset_imports[MICROSOFT] = OPSETS[MICROSOFT]
    return count


def _can_take_in(prober: Prober, norm: ir.Node, addition: ir.Node) -> bool:
    """Whether a norm of [batch_size, sequence_length, width] reads the sum of two of that shape, earliest of all."""
    total = addition.outputs[0]
    if total.is_graph_output() or norm.attributes.get_int("axis", -1) not in (-1, 2):
        return False
    if any(use.node is not norm and _precedes(prober, use.node, norm) for use in total.uses()):
        return False
    try:
        for sizes in SIZES:
            shapes = [
                prober.at(sizes).shape(value) for value in (*addition.inputs, total) if value is not None
            ]
            if len(set(shapes)) != 1 or shapes[0][:2] != (sizes.batch, sizes.length) or len(shapes[0]) != 3:
                return False
    except Unprovable:
        return False
    return True


def _precedes(prober: Prober, node: ir.Node, other: ir.Node) -> bool:
    order = prober.order
    return order.get(node, -1) < order[other]
