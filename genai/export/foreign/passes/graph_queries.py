"""Small questions about an onnx_ir graph. It knows nothing of decoders."""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.opset import ONNX_DOMAINS

__all__ = [
    "ancestors",
    "array_of",
    "cache_dimensions",
    "dependents",
    "is_op",
    "only_consumer",
    "operands_of",
    "producer_of",
    "scalar_of",
]


def array_of(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Return a constant's elements; None where the value is not constant."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return np.asarray(value.const_value.numpy())


def scalar_of(value: ir.Value | None) -> float | None:
    """Return the number that a constant of one element holds; None for everything else."""
    tensor = value.const_value if value is not None else None
    if tensor is None or tensor.size != 1:
        return None
    array = array_of(value)
    return None if array is None else float(array.reshape(-1)[0])


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether there is a node, of ONNX's own domain, with one of these types."""
    return node is not None and node.domain in ONNX_DOMAINS and node.op_type in op_types


def producer_of(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """Return the node that produces a value if it is of one of these types."""
    node = value.producer() if value is not None else None
    return node if is_op(node, *op_types) else None


def only_consumer(value: ir.Value) -> ir.Node | None:
    """Return the node that alone reads a value, however many of its operands it is; None where there are others."""
    if value.is_graph_output():
        return None
    nodes = {use.node for use in value.uses()}
    return next(iter(nodes)) if len(nodes) == 1 else None


def dependents(graph: ir.Graph, roots: Iterable[ir.Value], *, through_shape: bool = True) -> set[ir.Value]:
    """Return every value that depends on one of these, themselves included.

    Args:
        graph: A topologically sorted graph.
        roots: Where to begin.
        through_shape: Whether to depend on a value's shape is to depend on it.
    """
    reached = set(roots)
    for node in graph:
        if is_op(node, "Shape", "Size") and not through_shape:
            continue
        if any(operand in reached for operand in operands_of(node)):
            reached.update(node.outputs)
    return reached


def ancestors(
    values: Iterable[ir.Value], *, stop: Iterable[ir.Value] = (), shapes_only: Container[ir.Value] = ()
) -> set[ir.Value]:
    """Return everything that these values depend on, themselves included.

    Args:
        values: Where to begin.
        stop: Values not to look behind.
        shapes_only: Values that are not entered where only their shape is read.
    """
    stops, reached, waiting = set(stop), set[ir.Value](), list(values)
    while waiting:
        value = waiting.pop()
        if value in reached:
            continue
        reached.add(value)
        node = value.producer()
        if node is None or value in stops:
            continue
        if not (is_op(node, "Shape", "Size") and node.inputs[0] in shapes_only):
            waiting.extend(operands_of(node))
    return reached


def cache_dimensions(value: ir.Value) -> tuple[int, int]:
    """Return the number of heads and their width of a cache input [batch_size, num_heads, past, head_dim].

    Exporters may name a fixed size like a symbol, "2".

    Raises:
        Unprovable: They are not fixed.
    """
    sizes = list(value.shape) if value.shape is not None else []
    texts = [str(size.value if isinstance(size, ir.SymbolicDim) else size) for size in sizes]
    if len(texts) != 4 or not (texts[1].isdigit() and texts[3].isdigit()):
        raise Unprovable(f"{value.name} is not declared as [batch_size, num_heads, past, head_dim]")
    return int(texts[1]), int(texts[3])


def operands_of(node: ir.Node) -> Iterable[ir.Value]:
    """Yield what a node and its subgraphs read."""
    for operand in node.inputs:
        if operand is not None:
            yield operand
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from operands_of(inner)
            yield from attribute.as_graph().outputs
