"""A foreign graph made ready to be written: weights quantized or kept, large ones outside the protobuf.

Products with stored matrices become MatMulNBits at int4 and int8, by the arithmetic and layout of the native export,
and the table of token embeddings GatherBlockQuantized. A head that repeats that table reads it instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from genai.export.build.linear import ACCURACY_LEVEL
from genai.export.build.tensors import LazyTensor
from genai.export.checkpoint.checkpoint import Array
from genai.export.foreign.products import Product, feeds_top_k, find_embedding, find_products
from genai.graph.opset import MICROSOFT
from genai.quantize import BlockScheme, quantize_rows, quantize_scales

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
    """

    graph: ir.Graph
    opsets: dict[str, int]
    ir_version: int
    initializers: dict[str, ir.Value] = field(default_factory=dict)
    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    storage: dict[str, str] = field(default_factory=dict)
    num_quantized: int = 0

    def model(self, *, producer: str, version: str) -> ir.Model:
        """Return the model; its values point to where they are stored once they are written."""
        self.graph.opset_imports.update(self.opsets)
        return ir.Model(
            self.graph, ir_version=self.ir_version, producer_name=producer, producer_version=version
        )

    def store(self, name: str, tensor: LazyTensor, *, shares: str | None = None) -> ir.Value:
        """Add an initializer; its bytes may be those of another."""
        value = ir.Value(name=name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype))
        self._keep(value, tensor, shares or name)
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


def finish_graph(model: ir.Model, scheme: BlockScheme | None) -> FinishedGraph:
    """Return the model's graph with its products quantized, if there is a scheme, ready for `write_graph`.

    The model is changed and must not be used afterwards.
    """
    finished = FinishedGraph(model.graph, dict(model.opset_imports), model.ir_version)
    embedding = find_embedding(model.graph)
    products = list(find_products(model.graph))
    if scheme is None:
        _read_rows_in_place(finished, products, embedding)
    else:
        _quantize(finished, products, embedding, scheme)
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


def _read_rows_in_place(finished: FinishedGraph, products: list[Product], embedding: ir.Node | None) -> None:
    """Let products read matrices as they are stored, instead of a transposed copy."""
    table = embedding.inputs[0] if embedding is not None else None
    for product in products:
        stored = product.stored
        if table is not None and stored is not table and _is_repeated(product.rows, table):
            stored = table
        is_direct = product.node.op_type == "Gemm" and stored is product.node.inputs[1]
        if stored is None or is_direct:
            continue
        _replace(
            finished,
            product,
            ir.node("FusedMatMul", [product.node.inputs[0], stored], {"transB": 1}, domain=MICROSOFT),
        )


def _quantize(
    finished: FinishedGraph, products: list[Product], embedding: ir.Node | None, scheme: BlockScheme
) -> None:
    table = _quantize_embedding(finished, embedding, scheme) if embedding is not None else None
    known: dict[tuple[int, tuple[int, ...], tuple[int, ...]], tuple[ir.Value, ir.Value]] = {}
    for number, product in enumerate(products):
        (output,) = product.node.outputs
        if feeds_top_k(output):
            continue
        rows = product.rows
        key = (rows.__array_interface__["data"][0], rows.shape, rows.strides)
        if key not in known:
            codes, scales = _quantized_tensors(rows, scheme)
            name = f"{output.name or number}.weight"
            if table is not None and _is_repeated(rows, table.source):
                weight = finished.store(f"{name}.codes", codes, shares=table.name)
                known[key] = (weight, table.scales)
            else:
                known[key] = (
                    finished.store(f"{name}.codes", codes),
                    finished.store(f"{name}.scales", scales),
                )
        num_outputs, num_inputs = rows.shape
        node = ir.node(
            "MatMulNBits",
            [product.node.inputs[0], *known[key], None, None, product.bias],
            {
                "K": num_inputs,
                "N": num_outputs,
                "bits": scheme.bits,
                "block_size": scheme.block_size,
                "accuracy_level": ACCURACY_LEVEL,
            },
            domain=MICROSOFT,
        )
        _replace(finished, product, node, adds_bias=True)
        finished.num_quantized += 1


@dataclass(frozen=True, slots=True)
class _QuantizedTable:
    name: str
    source: ir.Value
    scales: ir.Value


def _quantize_embedding(finished: FinishedGraph, node: ir.Node, scheme: BlockScheme) -> _QuantizedTable:
    """Look up token embeddings in quantized rows."""
    table, indices = node.inputs
    assert table is not None, "checked when it was found"
    assert table.const_value is not None, "checked when it was found"
    rows = table.const_value.numpy()
    codes, scales = _quantized_tensors(rows, scheme)
    flat = LazyTensor(
        codes.dtype,
        (len(rows), math.prod(codes.shape[1:])),
        lambda start, stop: codes.read(start, stop).reshape(stop - start, -1),
    )
    name = f"{table.name}.codes"
    inputs = [
        finished.store(name, flat),
        indices,
        scale_values := finished.store(f"{table.name}.scales", scales),
    ]
    found = ir.node(
        "GatherBlockQuantized",
        inputs,
        {"bits": scheme.bits, "block_size": scheme.block_size, "gather_axis": 0, "quantize_axis": 1},
        domain=MICROSOFT,
    )
    nodes, columns = [found], rows.shape[1]
    if columns % scheme.block_size:
        bounds = [ir.node("Constant", [], {"value_ints": [bound]}) for bound in (0, columns, -1)]
        cut = ir.node("Slice", [found.outputs[0], *(bound.outputs[0] for bound in bounds)])
        nodes += [*bounds, cut]
    _substitute(finished.graph, node, nodes)
    finished.opsets[MICROSOFT] = 1
    return _QuantizedTable(name, table, scale_values)


def _quantized_tensors(rows: Array, scheme: BlockScheme) -> tuple[LazyTensor, LazyTensor]:
    """The codes, uint8 [outputs, blocks, block_bytes], and scales, float32 [outputs, blocks], of a matrix."""
    num_rows, num_columns = rows.shape
    num_blocks = scheme.num_blocks(num_columns)

    def read_codes(start: int, stop: int) -> Array:
        return quantize_rows(rows[start:stop].astype(np.float32), scheme)

    def read_scales(start: int, stop: int) -> Array:
        return quantize_scales(rows[start:stop].astype(np.float32), scheme)

    return (
        LazyTensor(ir.DataType.UINT8, (num_rows, num_blocks, scheme.block_bytes), read_codes),
        LazyTensor(ir.DataType.FLOAT, (num_rows, num_blocks), read_scales),
    )


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


def _replace(finished: FinishedGraph, product: Product, node: ir.Node, *, adds_bias: bool = False) -> None:
    nodes = [node]
    if product.bias is not None and not adds_bias:
        nodes.append(ir.node("Add", [node.outputs[0], product.bias]))
    _substitute(finished.graph, product.node, nodes)
    finished.opsets[MICROSOFT] = 1


def _substitute(graph: ir.Graph, old: ir.Node, nodes: list[ir.Node]) -> None:
    """Put nodes, the last of which has the result, in the place of one."""
    (before,), (after,) = old.outputs, nodes[-1].outputs
    after.shape, after.type = before.shape, before.type
    name = before.name
    graph.insert_before(old, nodes)
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    before.name, after.name = None, name
