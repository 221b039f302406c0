"""Quantized matrices in a graph: their initializers, and the operators of ONNX Runtime that read them.

MatMulNBits, QMoE and GatherBlockQuantized take codes, scales and zero points of one layout, which is
`QuantizedMatrix`'s, under three shapes. None of them can be trusted with an order of the inputs: MatMulNBits has an
operand for it, deprecated, and with it ONNX Runtime 1.32 computes something else on CPU; so the inputs of the product
are put in that order before it, and looked-up rows back in theirs after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from genai.errors import UnsupportedModelError
from genai.export.build.precision import Precision
from genai.export.build.tensors import LazyTensor, from_array, stack
from genai.export.checkpoint.checkpoint import Array
from genai.export.checkpoint.rows import Rows, stacked_codes
from genai.graph.operators import FUSED_MATMUL, GATHER_BLOCK_QUANTIZED, MATMUL_NBITS, QMOE
from genai.quantize import BlockScheme, QuantizedMatrix, quantize_matrix

__all__ = [
    "StoredMatrix",
    "WeightEmitter",
    "product_with_rows",
    "quantize_stacked",
    "quantized_experts",
    "quantized_product",
    "quantized_rows",
    "store_experts",
    "store_matrix",
    "store_table",
]


class WeightEmitter(Protocol):
    """Adds nodes and initializers to a graph: one under construction, or one that is there already."""

    @property
    def precision(self) -> Precision:
        """The types of the graph, and what its provider's kernels want."""
        ...

    def op(
        self, op_type: str, inputs: Sequence[ir.Value | None], *, domain: str = "", **attributes: Any
    ) -> ir.Value:
        """Add a node with one output and return it."""
        ...

    def integers(self, *values: int) -> ir.Value:
        """Return a constant int64 [n]."""
        ...

    def initializer(self, name: str, tensor: LazyTensor, *, shares: ir.Value | None = None) -> ir.Value:
        """Add a tensor that will lie in the external data file; its bytes may be those of an earlier one."""
        ...


@dataclass(frozen=True, slots=True)
class StoredMatrix:
    """A quantized matrix whose parts are initializers of a graph.

    Args:
        matrix: The matrix.
        name: What the initializers' names begin with.
        codes: The codes; their shape is that of the operator which reads them.
        scales: The scales.
        zero_points: The zero points, if there are any.
        offsets: What is added to a block's weights, if anything is.
    """

    matrix: QuantizedMatrix
    name: str
    codes: ir.Value
    scales: ir.Value
    zero_points: ir.Value | None
    offsets: ir.Value | None


def quantize_stacked(views: Sequence[Rows], scheme: BlockScheme) -> QuantizedMatrix:
    """Return matrices stacked along their outputs: as they are if they have this scheme already, else rounded."""
    carried = stacked_codes(views)
    if carried is not None and carried.scheme == scheme:
        return carried
    rows = stack(views, ir.DataType.FLOAT)
    num_rows, num_columns = rows.shape
    return quantize_matrix(rows.read, shape=(num_rows, num_columns), scheme=scheme)


def store_matrix(
    g: WeightEmitter, name: str, matrix: QuantizedMatrix, *, shares: StoredMatrix | None = None
) -> StoredMatrix:
    """Store a matrix for `quantized_product`.

    Args:
        g: The graph.
        name: What the initializers' names begin with.
        matrix: The matrix.
        shares: The same matrix, stored as a table: its bytes are not stored again.
    """
    codes = _codes(matrix, (matrix.num_rows,), is_flat=False)
    if shares is not None:
        weight = g.initializer(f"{name}.weight", codes, shares=shares.codes)
        return StoredMatrix(matrix, name, weight, shares.scales, shares.zero_points, shares.offsets)
    return _store(g, name, matrix, codes, (matrix.num_rows,))


def store_table(g: WeightEmitter, name: str, matrix: QuantizedMatrix) -> StoredMatrix:
    """Store a matrix for `quantized_rows`; a product can share its bytes."""
    return _store(g, name, matrix, _codes(matrix, (matrix.num_rows,), is_flat=True), (matrix.num_rows,))


def store_experts(g: WeightEmitter, name: str, matrix: QuantizedMatrix, *, num_experts: int) -> StoredMatrix:
    """Store the matrices of several experts, which are stacked in one, for `quantized_experts`.

    Raises:
        UnsupportedModelError: They have an order of the inputs or offsets, for which QMoE has no operand.
    """
    for what, value in (
        ("an order of the inputs (act-order)", matrix.input_order),
        ("offsets of blocks", matrix.offsets),
    ):
        if value is not None:
            raise UnsupportedModelError(
                f"{name}: experts were quantized with {what}, for which ONNX Runtime's QMoE has no operand; choose "
                "a precision (--precision int4), or export the checkpoint that they were quantized from"
            )
    rows = (num_experts, matrix.num_rows // num_experts)
    return _store(g, name, matrix, _codes(matrix, rows, is_flat=True), rows)


def quantized_product(g: WeightEmitter, x: ir.Value, stored: StoredMatrix, bias: ir.Value | None) -> ir.Value:
    """Multiply by a stored matrix and add the bias, if there is one: [..., inputs] -> [..., outputs]."""
    if bias is not None and g.precision.form.separates_bias:
        return g.op("Add", [quantized_product(g, x, stored, None), bias])
    matrix = stored.matrix
    if matrix.input_order is not None:
        x = g.op("Gather", [x, _order(g, f"{stored.name}.input_order", matrix.input_order)], axis=-1)
    product = g.op(
        MATMUL_NBITS.op_type,
        MATMUL_NBITS.arrange(
            A=x, B=stored.codes, scales=stored.scales, zero_points=stored.zero_points, bias=bias
        ),
        domain=MATMUL_NBITS.domain,
        K=matrix.num_columns,
        N=matrix.num_rows,
        bits=matrix.scheme.bits,
        block_size=matrix.scheme.block_size,
        accuracy_level=g.precision.accuracy_level,
    )
    if stored.offsets is None:
        return product
    # What is added to a whole block is multiplied by the sum of the block's inputs. MatMulNBits takes zero points that
    # are floats too, and is 28 times as slow with them (one row, two Zen 4 cores).
    sums = g.op("ReduceSum", [_as_blocks(g, x, matrix), g.integers(-1)], keepdims=0)
    total = product_with_rows(g, sums, stored.offsets)
    shape = g.op("Shape", [product])
    return g.op(
        "Add", [product, g.op("Reshape", [total, shape], allowzero=1)]
    )  # of no positions, if none is asked for


def product_with_rows(g: WeightEmitter, x: ir.Value, rows: ir.Value) -> ir.Value:
    """Multiply by the transpose of a matrix of floats, which is read as it is stored: [..., columns] -> [..., rows]."""
    if FUSED_MATMUL.op_type in g.precision.form.without:
        return g.op("MatMul", [x, g.op("Transpose", [rows], perm=[1, 0])])
    operands = FUSED_MATMUL.arrange(A=x, B=rows)
    return g.op(FUSED_MATMUL.op_type, operands, domain=FUSED_MATMUL.domain, transB=1)


def quantized_rows(g: WeightEmitter, stored: StoredMatrix, indices: ir.Value) -> ir.Value:
    """Return rows of a stored table as floats: [*indices.shape, columns]."""
    matrix = stored.matrix
    found = g.op(
        GATHER_BLOCK_QUANTIZED.op_type,
        GATHER_BLOCK_QUANTIZED.arrange(
            data=stored.codes, indices=indices, scales=stored.scales, zero_points=stored.zero_points
        ),
        domain=GATHER_BLOCK_QUANTIZED.domain,
        bits=matrix.scheme.bits,
        block_size=matrix.scheme.block_size,
        gather_axis=0,
        quantize_axis=1,
    )
    if stored.offsets is not None:
        offsets = g.op("Gather", [stored.offsets, indices], axis=0)
        each = g.op("Reshape", [offsets, g.integers(-1, matrix.scheme.num_blocks(matrix.num_columns), 1)])
        shifted = g.op("Add", [_as_blocks(g, found, matrix), each])
        found = g.op("Reshape", [shifted, g.op("Shape", [found])])
    if matrix.input_order is not None:
        input_places = np.argsort(matrix.input_order)
        return g.op("Gather", [found, _order(g, f"{stored.name}.place", input_places)], axis=-1)
    if matrix.num_columns % matrix.scheme.block_size == 0:
        return found
    return g.op("Slice", [found, g.integers(0), g.integers(matrix.num_columns), g.integers(-1)])


def quantized_experts(
    g: WeightEmitter,
    inputs: Sequence[ir.Value],
    gate_up: tuple[StoredMatrix, ir.Value | None],
    down: tuple[StoredMatrix, ir.Value | None],
    **attributes: Any,
) -> ir.Value:
    """Let QMoE compute experts whose matrices have one scheme.

    Args:
        g: The graph.
        inputs: The tokens, [batch_size, sequence_length, inputs], of whole blocks, and the routing,
            [batch_size * sequence_length, num_experts].
        gate_up: The first matrices and their biases.
        down: The second ones.
        **attributes: Those that QMoE has in common with MoE.
    """
    (first, first_bias), (second, second_bias) = gate_up, down
    scheme = first.matrix.scheme
    assert scheme == second.matrix.scheme, "QMoE has one number of bits"
    x, logits = inputs
    operands = QMOE.arrange(
        input=x,
        router_probs=logits,
        fc1_experts_weights=first.codes,
        fc1_scales=first.scales,
        fc1_experts_bias=first_bias,
        fc1_zero_points=first.zero_points,
        fc2_experts_weights=second.codes,
        fc2_scales=second.scales,
        fc2_experts_bias=second_bias,
        fc2_zero_points=second.zero_points,
    )
    return g.op(
        QMOE.op_type,
        operands,
        domain=QMOE.domain,
        **attributes,
        expert_weight_bits=scheme.bits,
        block_size=scheme.block_size,
        accuracy_level=g.precision.accuracy_level,
        weights_prepacked=0,
    )


def _store(
    g: WeightEmitter, name: str, matrix: QuantizedMatrix, codes: LazyTensor, rows: tuple[int, ...]
) -> StoredMatrix:
    """Store codes and what belongs to them, in this order, in which their rows are read once."""
    num_blocks = matrix.scheme.num_blocks(matrix.num_columns)
    weight = g.initializer(f"{name}.weight", codes)
    float_type = g.precision.float_type
    scale_type = ir.DataType.FLOAT16 if matrix.scheme.scale_type == "float16" else ir.DataType.FLOAT
    scales = _tensor(
        lambda a, b: matrix.scales[a:b].astype(scale_type.numpy()), scale_type, rows, (num_blocks,)
    )
    stored_scales = g.initializer(f"{name}.scales", scales)
    if scale_type != float_type:  # ONNX Runtime does it once, when it loads the graph
        stored_scales = g.op("Cast", [stored_scales], to=float_type)
    zero_points = None
    if (points := matrix.zero_points) is not None:
        num_bytes = matrix.scheme.zero_point_bytes(matrix.num_columns)
        tensor = _tensor(lambda a, b: points[a:b], ir.DataType.UINT8, rows, (num_bytes,))
        zero_points = g.initializer(f"{name}.zero_points", tensor)
    offsets = None
    if (values := matrix.offsets) is not None:
        tensor = _tensor(lambda a, b: values[a:b].astype(float_type.numpy()), float_type, rows, (num_blocks,))
        offsets = g.initializer(f"{name}.offsets", tensor)
    return StoredMatrix(matrix, name, weight, stored_scales, zero_points, offsets)


def _as_blocks(g: WeightEmitter, x: ir.Value, matrix: QuantizedMatrix) -> ir.Value:
    """Return what has one number for each input as blocks: [..., inputs] -> [all rows, blocks, block_size]."""
    scheme = matrix.scheme
    return g.op("Reshape", [x, g.integers(-1, scheme.num_blocks(matrix.num_columns), scheme.block_size)])


def _codes(matrix: QuantizedMatrix, rows: tuple[int, ...], *, is_flat: bool) -> LazyTensor:
    columns = matrix.codes.shape[1:]
    shape = (math.prod(columns),) if is_flat else columns
    return _tensor(lambda a, b: matrix.codes[a:b], ir.DataType.UINT8, rows, shape)


def _tensor(
    read: Callable[[int, int], Array], dtype: ir.DataType, rows: tuple[int, ...], columns: tuple[int, ...]
) -> LazyTensor:
    """Rows that are counted along one axis or several, each of this shape."""
    return LazyTensor(
        dtype,
        (*rows, *columns),
        lambda start, stop: read(start, stop).reshape(stop - start, *columns),
        row_axes=len(rows),
    )


def _order(g: WeightEmitter, name: str, indices: Array) -> ir.Value:
    return g.initializer(name, from_array(indices, ir.DataType.INT64))
