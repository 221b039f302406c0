"""Linear biases on attention's scores (ALiBi)."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir

from genai.export.architecture import AlibiSpec
from genai.export.build.emitter import Emitter
from genai.export.build.lengths import Lengths

__all__ = ["make_alibi"]


def make_alibi(
    e: Emitter, lengths: Lengths, alibi: AlibiSpec, *, float_type: ir.DataType = ir.DataType.FLOAT
) -> ir.Value:
    """Derive what linear biases add to the scores: each head's slope times the key's position.

    Counting from the query instead, as the paper does, would shift all scores of a query alike.

    Returns:
        `float_type` [1, num_heads, sequence_length, total_sequence_length].
    """
    keys = _key_positions(e, lengths, is_half=float_type != ir.DataType.FLOAT)
    slopes = np.asarray(alibi.slopes, ml_dtypes.bfloat16 if alibi.is_bfloat16 else np.float32)
    biases = e.op("Mul", [e.constant(slopes.astype(np.float32).reshape(1, -1, 1, 1)), keys])
    if alibi.is_bfloat16:
        rounded = e.op("Cast", [biases], to=ir.DataType.BFLOAT16)
        biases = e.op("Cast", [rounded], to=ir.DataType.FLOAT)
    if alibi.factor != 1.0:
        biases = e.op("Mul", [biases, _float32(e, alibi.factor)])
    if float_type != ir.DataType.FLOAT:
        biases = e.op("Cast", [biases], to=float_type)
    shape = e.op("Concat", [e.integers(1, 1), lengths.sequence_length, e.integers(1)], axis=0)
    return e.op("Expand", [biases, shape])


def _key_positions(e: Emitter, lengths: Lengths, *, is_half: bool) -> ir.Value:
    """Count the positions: float32 [total_sequence_length].

    Range takes the length from the host, where CUDA's GroupQueryAttention has it; a Cast of it would be on the device,
    and a copy back is what a captured graph cannot have. Graphs of float32, which CUDA does not run, cast it all the same.
    """
    length = lengths.total_sequence_length
    if is_half:
        zero, one = (e.constant(np.asarray(value, np.int32)) for value in (0, 1))
        return e.op("Cast", [e.op("Range", [zero, length, one])], to=ir.DataType.FLOAT)
    total = e.op("Cast", [length], to=ir.DataType.FLOAT)
    return e.op("Range", [_float32(e, 0.0), total, _float32(e, 1.0)])


def _float32(e: Emitter, value: float) -> ir.Value:
    return e.constant(np.asarray(value, np.float32))
