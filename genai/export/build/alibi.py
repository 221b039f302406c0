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
    total = e.op("Cast", [lengths.total_sequence_length], to=ir.DataType.FLOAT)
    keys = e.op("Range", [_float32(e, 0.0), total, _float32(e, 1.0)])
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


def _float32(e: Emitter, value: float) -> ir.Value:
    return e.constant(np.asarray(value, np.float32))
