"""A foreign graph made ready to be written: weights quantized or kept, large ones outside the protobuf.

Products with stored matrices become MatMulNBits at int4 and int8, by the arithmetic and layout of the native export,
and the table of token embeddings GatherBlockQuantized. A head that repeats that table reads it instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from genai.export.build.precision import Precision
from genai.export.build.quantized import (
    StoredMatrix,
    product_with_rows,
    quantize_stacked,
    quantized_product,
    quantized_rows,
    store_matrix,
    store_table,
)
from genai.export.build.tensors import LazyTensor
from genai.export.checkpoint.checkpoint import Array
from genai.export.foreign.products import Product, find_embedding, find_products, module_of
from genai.graph.opset import MICROSOFT, OPSETS
from genai.quantize import BlockScheme

__all__ = ["FinishedGraph", "finish_graph"]

INLINE_BYTES = 1024
"""Smaller tensors stay in the protobuf, where ONNX Runtime can use shapes and axes to infer others."""

_COMPARED_ROWS = 4096


@dataclass(slots=True)
class FinishedGraph:
    """A graph whose large tensors are read while they are written.

    Args:
        graph: The graph; its large initializers have no values of their own.
        opsets: Version by domain.
        ir_version: Version of the protobuf's format.
        initializers: The large initializers by name.
        tensors: What they hold.
        storage: The name under which each is stored; several share one's bytes.
        num_quantized: Products that became MatMulNBits.
        modules: Paths of all modules that have a scheme or could have one.
    """

    graph: ir.Graph
    opsets: dict[str, int]
    ir_version: int
    initializers: dict[str, ir.Value] = field(default_factory=dict)
    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)
    num_quantized: int = 0
    modules: set[str] = field(default_factory=set)

    @property
    def nodes(self) -> Iterable[ir.Node]:
        """Its nodes."""
        return self.graph

    def model(self, *, producer: str, version: str) -> ir.Model:
        """Return the model; its values point to where they are stored once they are written."""
        self.graph.opset_imports.update(self.opsets)
        return ir.Model(
            self.graph, ir_version=self.ir_version, producer_name=producer, producer_version=version
        )

    def initializer(self, name: str, tensor: LazyTensor, *, shares: ir.Value | None = None) -> ir.Value:
        """Add an initializer; its bytes may be those of an earlier one."""
        value = ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype))
        self._keep(value, tensor, name if shares is None else self.storage[str(shares.name)])
        self.graph.initializers.add(value)
        return value

    def keep(self, value: ir.Value) -> None:
        """Let an initializer of the graph be written outside the protobuf."""
        source = value.const_value
        assert source is not None, "an initializer has a value"
        shape = tuple(source.shape.numpy())
        self._keep(value, LazyTensor(source.dtype, shape, lambda a, b: source.numpy()[a:b]), str(value.name))

    def _keep(self, value: ir.Value, tensor: LazyTensor, stored_as: str) -> None:
        assert value.name is not None, "an initializer has a name"
        self.initializers[value.name] = value
        self.tensors[value.name] = tensor
        self.storage[value.name] = stored_as


def finish_graph(model: ir.Model, precision: Precision) -> FinishedGraph:
    """Return the model's graph with its products quantized, as far as the precision says, ready for `write_graph`.

    The model is changed and must not be used afterwards.
    """
    finished = FinishedGraph(model.graph, dict(model.opset_imports), model.ir_version)
    embedding = find_embedding(model.graph)
    products = list(find_products(model.graph))
    table = embedding.inputs[0] if embedding is not None else None
    floats = _quantize(finished, products, embedding, precision)
    _read_rows_in_place(finished, floats, table, precision)
    _remove_unused(model)
    for value in list(model.graph.initializers.values()):
        tensor = value.const_value
        if tensor is None:
            continue  # lazy already
        if tensor.nbytes >= INLINE_BYTES:
            finished.keep(value)
        elif isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.Tensor(np.array(tensor.numpy()), dtype=tensor.dtype, name=value.name)
    return finished


def _remove_unused(model: ir.Model) -> None:
    """Remove nodes and initializers that no output needs; inputs stay."""
    import onnx_ir.passes.common as passes

    passes.RemoveUnusedNodesPass()(model)


def _read_rows_in_place(
    finished: FinishedGraph, products: list[Product], table: ir.Value | None, precision: Precision
) -> None:
    """Let products read matrices as they are stored, instead of a transposed copy; the embedding's table too."""
    for product in products:
        stored = product.stored
        if table is not None and stored is not table and _is_repeated(product.rows, table):
            stored = table
        is_direct = product.node.op_type == "Gemm" and stored is product.node.inputs[1]
        if stored is None or is_direct:
            continue
        emitter = _Replacement(finished, precision)
        x = product.node.inputs[0]
        assert x is not None, "a product has two factors"
        output = product_with_rows(emitter, x, stored)
        if product.bias is not None:
            emitter.op("Add", [output, product.bias])
        _substitute(finished, product.node, emitter.nodes)


def _quantize(
    finished: FinishedGraph, products: list[Product], embedding: ir.Node | None, precision: Precision
) -> list[Product]:
    """Quantize the table of embeddings and the products; return the products that stay floats."""
    table = None
    if embedding is not None:
        finished.modules.add("embedding")
        table = _quantize_embedding(finished, embedding, precision)
    known: dict[tuple[object, ...], StoredMatrix] = {}
    floats = []
    for number, product in enumerate(products):
        module = module_of(product)
        finished.modules.add(module)
        scheme = precision.scheme_of(module)
        if scheme is None:
            floats.append(product)
            continue
        rows, (output,) = product.rows, product.node.outputs
        emitter = _Replacement(finished, precision)
        key = (rows.__array_interface__["data"][0], rows.shape, rows.strides, scheme)
        if key not in known:
            name = f"{output.name or number}.quantized"
            shared = table.stored if table is not None and table.holds(rows, scheme) else None
            matrix = quantize_stacked([rows], scheme) if shared is None else shared.matrix
            known[key] = store_matrix(emitter, name, matrix, shares=shared)
        x = product.node.inputs[0]
        assert x is not None, "a product has two factors"
        quantized_product(emitter, x, known[key], product.bias)
        _substitute(finished, product.node, emitter.nodes)
        finished.num_quantized += 1
    return floats


@dataclass(frozen=True, slots=True)
class _Table:
    """The quantized table of embeddings, and the initializer that it was made of."""

    source: ir.Value
    stored: StoredMatrix

    def holds(self, rows: Array, scheme: BlockScheme) -> bool:
        return scheme == self.stored.matrix.scheme and _is_repeated(rows, self.source)


def _quantize_embedding(finished: FinishedGraph, node: ir.Node, precision: Precision) -> _Table | None:
    """Look up token embeddings in quantized rows."""
    scheme = precision.scheme_of("embedding")
    if scheme is None:
        return None
    table, indices = node.inputs
    assert table is not None, "checked when it was found"
    assert table.const_value is not None, "checked when it was found"
    assert indices is not None, "checked when it was found"
    emitter = _Replacement(finished, precision)
    matrix = quantize_stacked([table.const_value.numpy()], scheme)
    stored = store_table(emitter, f"{table.name}.quantized", matrix)
    quantized_rows(emitter, stored, indices)
    _substitute(finished, node, emitter.nodes)
    return _Table(table, stored)


class _Replacement:
    """The nodes that will stand in the place of one, and the initializers that they add to the graph."""

    def __init__(self, finished: FinishedGraph, precision: Precision) -> None:
        self.precision = precision
        self.nodes: list[ir.Node] = []
        self._finished = finished

    def op(
        self, op_type: str, inputs: Sequence[ir.Value | None], *, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """Add a node with one output and return it."""
        self.nodes.append(ir.node(op_type, inputs, attributes, domain=domain))
        return self.nodes[-1].outputs[0]

    def integers(self, *values: int) -> ir.Value:
        """Return a constant int64 [n]."""
        return self.op("Constant", [], value_ints=values)

    def initializer(self, name: str, tensor: LazyTensor, *, shares: ir.Value | None = None) -> ir.Value:
        """Add a tensor that will lie in the external data file; its bytes may be those of an earlier one."""
        return self._finished.initializer(name, tensor, shares=shares)


def _is_repeated(rows: Array, table: ir.Value) -> bool:
    """Whether a matrix holds the same numbers as a table; read some rows at a time."""
    assert table.const_value is not None, "a table has its values"
    other = table.const_value.numpy()
    if rows.shape != other.shape or rows.dtype != other.dtype:
        return False
    starts = range(0, len(rows), _COMPARED_ROWS)
    return all(
        np.array_equal(rows[start : start + _COMPARED_ROWS], other[start : start + _COMPARED_ROWS])
        for start in starts
    )


def _substitute(finished: FinishedGraph, old: ir.Node, nodes: list[ir.Node]) -> None:
    """Put nodes, the last of which has the result, in the place of one."""
    graph = finished.graph
    finished.opsets[MICROSOFT] = OPSETS[MICROSOFT]
    (before,), (after,) = old.outputs, nodes[-1].outputs
    after.shape, after.type = before.shape, before.type
    name = before.name
    graph.insert_before(old, nodes)
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    before.name, after.name = None, name
