"""Matrix products with stored weights: plain, or block-quantized; also the embedding that shares the head's bytes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.build.graph_builder import GraphBuilder, Product, Tap
from genai.export.build.quantized import (
    StoredMatrix,
    product_with_rows,
    quantize_stacked,
    quantized_product,
    quantized_rows,
    store_matrix,
    store_table,
)
from genai.export.build.tensors import stack, stack_transposed
from genai.export.checkpoint.rows import Rows
from genai.graph.operators import GATHER_BLOCK_QUANTIZED
from genai.quantize import BlockScheme

__all__ = ["Table", "linear", "look_up", "multiply", "project", "table"]


@dataclass(frozen=True, slots=True)
class Table:
    """A matrix whose rows are looked up, and that a head can read too.

    Args:
        view: The matrix, as the checkpoint has it.
        scheme: How it is quantized; `None` if it is stored as floats.
        stored: The initializers: one of floats, or those of a quantized matrix.
        name: What their names begin with.
    """

    view: Rows
    scheme: BlockScheme | None
    stored: ir.Value | StoredMatrix
    name: str


def linear(g: GraphBuilder, x: ir.Value, *modules: str, name: str | None = None) -> ir.Value:
    """Multiply by the stacked weights of modules of this scope and add their biases.

    It is one product, or one for each run of modules that are stored alike. Of several modules some may have a
    bias and others none.

    Args:
        g: The graph.
        x: [..., inputs].
        modules: Modules whose outputs are concatenated, in this order.
        name: Name of the stacked initializers; the module's own if there is one.
    """
    paths = tuple(g.path(module) for module in modules)
    g.taps.append(Tap(x, paths))
    runs = [tuple(run) for _, run in itertools.groupby(modules, g.storage_of)]
    if len(runs) == 1:
        product = _stacked_product(g, x, modules, g.scheme_of(modules[0]), name=name or modules[0])
    else:
        products = [_stacked_product(g, x, run, g.scheme_of(run[0]), name="_".join(run)) for run in runs]
        product = g.op("Concat", products, axis=-1)
    return product if paths not in g.additions else g.op("Add", [product, g.additions[paths](x)])


def multiply(
    g: GraphBuilder,
    x: ir.Value,
    views: Sequence[Rows],
    biases: Sequence[Rows],
    *,
    name: str,
    scheme: BlockScheme | None,
) -> ir.Value:
    """Multiply by stacked matrices [outputs, inputs] and add the stacked biases, if there are any.

    Args:
        g: The graph.
        x: [..., inputs].
        views: The matrices.
        biases: Their biases, or none.
        name: Name of the initializers.
        scheme: How the matrices are quantized; `None` stores floats.
    """
    bias = g.initializer(f"{name}.bias", stack(biases, g.precision.float_type)) if biases else None
    if scheme is not None and g.precision.form.has_whole_blocks and views[0].shape[1] % scheme.block_size:
        scheme = None
    if scheme is not None:
        stored = store_matrix(g, name, quantize_stacked(views, scheme))
        return quantized_product(g, x, stored, bias)
    weight = g.initializer(f"{name}.weight", stack_transposed(views, g.precision.float_type))
    return _with_bias(g, g.op("MatMul", [x, weight]), bias)


def table(g: GraphBuilder, module: str, *, first_row: int = 0) -> Table:
    """Store a module's matrix, row by row, for `look_up` and `project`."""
    view, scheme = g.parameter(f"{module}.weight"), g.scheme_of(module)
    if GATHER_BLOCK_QUANTIZED.op_type in g.precision.form.without:
        scheme = None
    view = view[first_row:] if first_row else view
    if scheme is None:
        tensor = stack([view], g.precision.float_type)
        return Table(view, None, g.initializer(f"{module}.weight", tensor), g.path(module))
    return Table(view, scheme, store_table(g, module, quantize_stacked([view], scheme)), g.path(module))


def look_up(g: GraphBuilder, rows: Table, indices: ir.Value) -> ir.Value:
    """Return rows of a table: [*indices.shape, columns]."""
    if isinstance(rows.stored, StoredMatrix):
        return quantized_rows(g, rows.stored, indices)
    return g.op("Gather", [rows.stored, indices], axis=0)


def project(g: GraphBuilder, x: ir.Value, rows: Table, *, name: str) -> ir.Value:
    """Multiply by a table's transpose: [..., columns] -> [..., rows].

    Where the module of this name has the table's precision, its bytes are not stored again. FusedMatMul reads the rows
    as they are and is as fast as MatMul with a transposed copy, at decode and at prefill (measured on two Zen 4 cores:
    13.7 and 13.6 ms for 896 x 50,000; Gemm with its reshapes 16.5 ms).
    """
    biases = [g.parameter(f"{name}.bias")] if g.has_parameter(f"{name}.bias") else []
    scheme = rows.scheme if g.precision.keeps_codes else g.scheme_of(name)
    has_own = scheme != rows.scheme or isinstance(rows.stored, StoredMatrix)
    g.products.append(Product(g.path(name) if has_own else rows.name, (g.path(name),)))
    if scheme != rows.scheme:
        return multiply(g, x, [rows.view], biases, name=name, scheme=scheme)
    bias = g.initializer(f"{name}.bias", stack(biases, g.precision.float_type)) if biases else None
    if isinstance(rows.stored, StoredMatrix):
        stored = store_matrix(g, name, rows.stored.matrix, shares=rows.stored)
        return quantized_product(g, x, stored, bias)
    return _with_bias(g, product_with_rows(g, x, rows.stored), bias)


def _stacked_product(
    g: GraphBuilder, x: ir.Value, modules: Sequence[str], scheme: BlockScheme | None, *, name: str
) -> ir.Value:
    weights = [g.parameter(f"{module}.weight") for module in modules]
    biases: list[Rows] = []
    if any(g.has_parameter(f"{module}.bias") for module in modules):
        biases = [
            g.parameter(f"{module}.bias")
            if g.has_parameter(f"{module}.bias")
            else np.zeros(len(weight), np.float32)
            for module, weight in zip(modules, weights, strict=True)
        ]
    if not g.is_shared(g.path(name)):  # an adapter would have to be told which of the layers it is for
        g.products.append(Product(g.path(name), tuple(g.path(module) for module in modules)))
    return multiply(g, x, weights, biases, name=name, scheme=scheme)


def _with_bias(g: GraphBuilder, product: ir.Value, bias: ir.Value | None) -> ir.Value:
    return product if bias is None else g.op("Add", [product, bias])
