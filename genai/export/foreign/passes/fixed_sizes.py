"""Size arithmetic that always gives the same becomes constants, and so do the targets of reshapes.

Exporters compute in the graph, layer by layer, what a head's width is or where its halves begin, and write a
reshape's target as a row of sizes read from shapes. Each such node is small, but there are dozens in every layer.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from genai.export.foreign.passes.graph_edit import GraphEdit
from genai.export.foreign.passes.graph_queries import dependents, is_op
from genai.export.foreign.passes.probe import Prober, Sizes
from genai.export.foreign.passes.telling_sizes import DISTINCT_SIZES, telling_sizes
from genai.export.foreign.passes.unprovable import Unprovable

__all__ = ["fix_sizes"]

MOST_NUMBERS = 8
"""A size, or a row of them, has no more; of a number that follows from sizes, such as a scale, there is one."""


def fix_sizes(model: ir.Model) -> int:
    """Replace sizes and reshapes' targets by constants, merge what is computed twice, and return how many."""
    graph = model.graph
    prober, edit = Prober(model), GraphEdit(graph, "fixed_sizes")
    # The prober's masks are all ones and its positions in order; a caller's need not be.
    of_content = dependents(graph, graph.inputs, through_shape=False)
    count = 0
    for node in list(graph):
        if is_op(node, "Reshape"):
            count += _fix_target(prober, edit, node, of_content)
    common.RemoveUnusedNodesPass()(model)
    for node in list(graph):
        for output in node.outputs:
            count += _fix_value(prober, edit, output, of_content)
    common.CommonSubexpressionEliminationPass()(model)
    return count


def _fix_target(prober: Prober, edit: GraphEdit, node: ir.Node, of_content: Container[ir.Value]) -> bool:
    """Write a reshape's target as sizes that are always the same, axes that stay, and at most one that is open."""
    source, target = node.inputs[0], node.inputs[1]
    if source is None or target is None or target.const_value is not None or target in of_content:
        return False
    try:
        every_size = telling_sizes(prober, target)
        rows = [_target(prober, sizes, node) for sizes in every_size]
        shapes = [prober.at(sizes).shape(source) for sizes in every_size]
    except Unprovable:
        return False
    fixed: list[int] = []
    for axis in range(len(rows[0])):
        numbers = {row[axis] for row in rows}
        if len(numbers) == 1 and 0 not in numbers:
            fixed.append(numbers.pop())
        elif all(
            axis < len(shape) and row[axis] == shape[axis] for row, shape in zip(rows, shapes, strict=True)
        ):
            fixed.append(0)
        else:
            fixed.append(-1)
    if fixed.count(-1) > 1:
        return False
    node.replace_input_with(1, edit.integers(*fixed))
    node.attributes.pop("allowzero", None)
    return True


def _target(prober: Prober, sizes: Sizes, node: ir.Node) -> list[int]:
    """Return the shape that a reshape gives."""
    return list(prober.at(sizes).shape(node.outputs[0]))


def _fix_value(prober: Prober, edit: GraphEdit, value: ir.Value, of_content: Container[ir.Value]) -> bool:
    """Replace a size by a constant where it is always the same."""
    if value in of_content or value.is_graph_output() or not value.uses():
        return False
    try:
        first = prober.at(DISTINCT_SIZES[0]).value(value)
        if first.size > MOST_NUMBERS:
            return False
        every_size = telling_sizes(prober, value)
        if not all(np.array_equal(prober.at(sizes).value(value), first) for sizes in every_size):
            return False
    except Unprovable:
        return False
    value.replace_all_uses_with(edit.constant(first))
    return True
