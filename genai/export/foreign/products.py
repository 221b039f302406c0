"""Products with stored matrices in a foreign graph: finding them, whatever stands between the matrix and the product.

Exporters leave a weight behind a Transpose, in a Gemm, or in one tensor with those of all other experts. All of these
are views of stored numbers, and are read as such here, without computing anything. It changes no graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.checkpoint.checkpoint import Array
from genai.graph.names import INPUT_IDS
from genai.graph.opset import ONNX_DOMAINS

__all__ = ["Product", "find_embedding", "find_products", "module_of"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_KEEP_AXES = (
    *("Add", "Cast", "Clip", "Div", "Identity", "Mul", "Reshape", "Sigmoid", "Softmax", "Tanh", "Where"),
)


@dataclass(frozen=True, slots=True)
class Product:
    """A node that multiplies its first input by a stored matrix.

    Args:
        node: A MatMul, or a Gemm that is no more than a product and a bias.
        rows: The matrix as [outputs, inputs], a view of stored numbers.
        bias: [outputs], if the node adds one.
        stored: The initializer, if `rows` is all of it as it lies there.
    """

    node: ir.Node
    rows: Array
    bias: ir.Value | None
    stored: ir.Value | None


def find_products(graph: ir.Graph) -> Iterator[Product]:
    """Yield the products with stored matrices of floats."""
    for node in list(graph):
        if node.domain not in ONNX_DOMAINS or node.op_type not in ("MatMul", "Gemm"):
            continue
        left, right = node.inputs[0], node.inputs[1]
        matrix = _view(right)
        if left is None or matrix is None or matrix.ndim != 2 or _view(left) is not None:
            continue
        assert right is not None
        if node.op_type == "MatMul":
            yield Product(node, matrix.T, None, _stored_rows(right))
        elif _is_plain_gemm(node):
            is_transposed = bool(node.attributes.get_int("transB", 0))
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            stored = right if is_transposed and right.is_initializer() else _stored_rows(right)
            rows = matrix if is_transposed else matrix.T
            if bias is None or (bias.shape is not None and tuple(bias.shape) == (len(rows),)):
                yield Product(node, rows, bias, stored)


def find_embedding(graph: ir.Graph) -> ir.Node | None:
    """Return the Gather that looks up the rows of the token ids, if there is one such."""
    for node in graph:
        if node.op_type == "Gather" and node.attributes.get_int("axis", 0) == 0:
            table, indices = node.inputs
            if table is not None and _is_token_ids(indices):
                is_table = table.is_initializer() and table.dtype in _FLOATS and len(table.shape or ()) == 2
                return node if is_table else None
    return None


def _is_token_ids(value: ir.Value | None) -> bool:
    """Whether a value is the token ids, perhaps in another shape or integer type."""
    while value is not None and not value.is_graph_input():
        node = value.producer()
        if node is None or node.op_type not in ("Reshape", "Squeeze", "Unsqueeze", "Cast", "Identity"):
            return False
        value = node.inputs[0]
    return value is not None and value.name == INPUT_IDS


def module_of(product: Product) -> str:
    """Return the path of a product's module, by which its precision is known.

    That is "router" before a choice of the largest, "head" before the logits, else what the stored matrix is called.
    """
    (output,) = product.node.outputs
    if _leads_to(output, lambda value: any(node.op_type == "TopK" for node in value.consumers())):
        return "router"
    if _leads_to(output, lambda value: value.is_graph_output() and value.name == "logits"):
        return "head"
    return str(_source_of(product.node.inputs[1]).name).removesuffix(".weight")


def _leads_to(value: ir.Value, is_end: Callable[[ir.Value], bool], *, steps: int = 8) -> bool:
    """Whether a value, or what a few operators that keep its axes make of it, is such an end."""
    if is_end(value):
        return True
    return steps > 0 and any(
        _leads_to(out, is_end, steps=steps - 1)
        for node in value.consumers()
        if node.op_type in _KEEP_AXES
        for out in node.outputs
    )


def _source_of(value: ir.Value | None) -> ir.Value:
    """Return the initializer that a matrix is a view of."""
    while value is not None and not value.is_initializer():
        node = value.producer()
        assert node is not None, "a view of an initializer"
        value = node.inputs[0]
    assert value is not None, "a view of an initializer"
    return value


def _stored_rows(right: ir.Value) -> ir.Value | None:
    """Return the initializer of which a MatMul's right side is the transpose."""
    node = right.producer()
    if node is None or node.op_type != "Transpose":
        return None
    source = node.inputs[0]
    return source if source is not None and source.is_initializer() and len(source.shape or ()) == 2 else None


def _is_plain_gemm(node: ir.Node) -> bool:
    has_plain_factors = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return has_plain_factors and not node.attributes.get_int("transA", 0)


def _view(value: ir.Value | None) -> Array | None:
    """Return stored floats as the value has them: an initializer, or a view of one; `None` if it is computed."""
    if value is None or value.is_graph_input():
        return None
    if value.is_initializer():
        tensor = value.const_value
        return tensor.numpy() if tensor is not None and tensor.dtype in _FLOATS else None
    node = value.producer()
    if node is None or node.op_type not in ("Transpose", "Squeeze", "Identity", "Split"):
        return None
    source = _view(node.inputs[0])
    if source is None:
        return None
    if node.op_type == "Transpose":
        permutation = node.attributes.get_ints("perm", None)
        return source.transpose(permutation)
    if node.op_type == "Identity":
        return source
    extra = _integers(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else ()
    if extra is None:
        return None
    if node.op_type == "Squeeze":
        return source.squeeze(extra or None)
    return _part(node, value, source, extra)


def _part(node: ir.Node, value: ir.Value, source: Array, sizes: tuple[int, ...]) -> Array:
    """Return the part of a Split that a value is."""
    axis = node.attributes.get_int("axis", 0)
    if not sizes:
        step = -(-source.shape[axis] // len(node.outputs))
        sizes = tuple(min(step, source.shape[axis] - start) for start in range(0, source.shape[axis], step))
    index = value.index()
    assert index is not None, "a Split's output has a place"
    start = sum(sizes[:index])
    return source[(slice(None),) * (axis % source.ndim) + (slice(start, start + sizes[index]),)]


def _integers(value: ir.Value | None) -> tuple[int, ...] | None:
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tuple(int(n) for n in np.atleast_1d(tensor.numpy()))
