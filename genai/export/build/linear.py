"""Matrix products with stored weights: plain, or block-quantized; also the embedding that shares the head's bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.tensors import LazyTensor, stack, stack_transposed
from genai.export.checkpoint.checkpoint import Array
from genai.export.checkpoint.rows import Rows
from genai.graph.opset import MICROSOFT
from genai.quantize import BlockScheme, quantize_rows, quantize_scales

__all__ = ["ACCURACY_LEVEL", "Table", "linear", "look_up", "multiply", "project", "table"]

ACCURACY_LEVEL = 4
"""MatMulNBits computes with int8 activations: 3 to 4 times as fast on CPU as with floats."""


@dataclass(frozen=True, slots=True)
class Table:
    """A matrix that both an embedding and a head can read; `columns` is the width of a row without padding."""

    weight: ir.Value
    tensor: LazyTensor
    scales: ir.Value | None
    columns: int


def linear(
    g: GraphBuilder, x: ir.Value, *modules: str, name: str | None = None, quantize: bool = True
) -> ir.Value:
    """Multiply by the stacked weights of modules of this scope and add their biases, in one product.

    Of several modules some may have a bias and others none.

    Args:
        g: The graph.
        x: [..., inputs].
        modules: Modules whose outputs are concatenated, in this order.
        name: Name of the stacked initializers; the module's own if there is one.
        quantize: Whether the weights may be quantized; those of a router are kept as they are.
    """
    weights = [g.parameter(f"{module}.weight") for module in modules]
    biases: list[Rows] = []
    if any(g.has_parameter(f"{module}.bias") for module in modules):
        biases = [
            g.parameter(f"{module}.bias")
            if g.has_parameter(f"{module}.bias")
            else np.zeros(len(weight), np.float32)
            for module, weight in zip(modules, weights, strict=True)
        ]
    return multiply(g, x, weights, biases, name=name or modules[0], quantize=quantize)


def multiply(
    g: GraphBuilder,
    x: ir.Value,
    views: Sequence[Rows],
    biases: Sequence[Rows],
    *,
    name: str,
    quantize: bool = True,
) -> ir.Value:
    """Multiply by stacked matrices [outputs, inputs] and add the stacked biases, if there are any."""
    bias = g.initializer(f"{name}.bias", stack(biases, g.precision.float_type)) if biases else None
    if g.precision.scheme is not None and quantize:
        return _quantized_product(g, x, name, views, bias, g.precision.scheme)
    weight = g.initializer(f"{name}.weight", stack_transposed(views, g.precision.float_type))
    product = g.op("MatMul", [x, weight])
    return product if bias is None else g.op("Add", [product, bias])


def table(g: GraphBuilder, module: str, *, quantize: bool = True, first_row: int = 0) -> Table:
    """Store a module's matrix, row by row, for `look_up` and `project`; in floats if it should not be quantized."""
    view = g.parameter(f"{module}.weight")
    view = view[first_row:] if first_row else view
    scheme = g.precision.scheme
    if scheme is None or not quantize:
        tensor = stack([view], g.precision.float_type)
        return Table(g.initializer(f"{module}.weight", tensor), tensor, None, view.shape[1])
    codes, scales = _quantized_tensors([view], scheme)
    flat = LazyTensor(
        codes.dtype,
        (codes.shape[0], math.prod(codes.shape[1:])),
        lambda start, stop: codes.read(start, stop).reshape(stop - start, -1),
    )
    return Table(
        weight=g.initializer(f"{module}.weight", flat),
        tensor=codes,
        scales=g.initializer(f"{module}.scales", scales),
        columns=view.shape[1],
    )


def look_up(g: GraphBuilder, rows: Table, indices: ir.Value) -> ir.Value:
    """Return rows of a table: [*indices.shape, columns]."""
    scheme = g.precision.scheme
    if scheme is None or rows.scales is None:
        return g.op("Gather", [rows.weight, indices], axis=0)
    found = g.op(
        "GatherBlockQuantized",
        [rows.weight, indices, rows.scales],
        domain=MICROSOFT,
        bits=scheme.bits,
        block_size=scheme.block_size,
        gather_axis=0,
        quantize_axis=1,
    )
    if rows.columns % scheme.block_size == 0:
        return found
    return g.op("Slice", [found, g.integers(0), g.integers(rows.columns), g.integers(-1)])


def project(g: GraphBuilder, x: ir.Value, rows: Table, *, name: str) -> ir.Value:
    """Multiply by a table's transpose: [..., columns] -> [..., rows]; its bytes are not stored again.

    FusedMatMul reads the rows as they are and is as fast as MatMul with a transposed copy, at decode and at prefill
    (measured on two Zen 4 cores: 13.7 and 13.6 ms for 896 x 50,000; Gemm with its reshapes 16.5 ms).
    """
    bias = None
    if g.has_parameter(f"{name}.bias"):
        bias = g.initializer(f"{name}.bias", stack([g.parameter(f"{name}.bias")], g.precision.float_type))
    scheme = g.precision.scheme
    if scheme is not None and rows.scales is not None:
        weight = g.initializer(f"{name}.weight", rows.tensor, shares=rows.weight)
        return _matmul_nbits(g, x, weight, rows.scales, bias, (rows.tensor.shape[0], rows.columns), scheme)
    product = g.op("FusedMatMul", [x, rows.weight], domain=MICROSOFT, transB=1)
    return product if bias is None else g.op("Add", [product, bias])


def _quantized_product(
    g: GraphBuilder,
    x: ir.Value,
    name: str,
    views: Sequence[Rows],
    bias: ir.Value | None,
    scheme: BlockScheme,
) -> ir.Value:
    codes, scales = _quantized_tensors(views, scheme)
    weight = g.initializer(f"{name}.weight", codes)
    shape = (codes.shape[0], views[0].shape[1])
    return _matmul_nbits(g, x, weight, g.initializer(f"{name}.scales", scales), bias, shape, scheme)


def _matmul_nbits(
    g: GraphBuilder,
    x: ir.Value,
    weight: ir.Value,
    scales: ir.Value,
    bias: ir.Value | None,
    shape: tuple[int, int],
    scheme: BlockScheme,
) -> ir.Value:
    """Multiply by quantized weights of shape [outputs, inputs]."""
    num_outputs, num_inputs = shape
    return g.op(
        "MatMulNBits",
        [x, weight, scales, None, None, bias],
        domain=MICROSOFT,
        K=num_inputs,
        N=num_outputs,
        bits=scheme.bits,
        block_size=scheme.block_size,
        accuracy_level=ACCURACY_LEVEL,
    )


def _quantized_tensors(views: Sequence[Rows], scheme: BlockScheme) -> tuple[LazyTensor, LazyTensor]:
    """The codes, uint8 [outputs, blocks, block_bytes], and scales, float32 [outputs, blocks], of stacked matrices."""
    rows = stack(views, ir.DataType.FLOAT)
    num_rows, num_columns = rows.shape
    num_blocks = scheme.num_blocks(num_columns)

    def read_codes(start: int, stop: int) -> Array:
        return quantize_rows(rows.read(start, stop), scheme)

    def read_scales(start: int, stop: int) -> Array:
        return quantize_scales(rows.read(start, stop), scheme)

    return (
        LazyTensor(ir.DataType.UINT8, (num_rows, num_blocks, scheme.block_bytes), read_codes),
        LazyTensor(ir.DataType.FLOAT, (num_rows, num_blocks), read_scales),
    )
