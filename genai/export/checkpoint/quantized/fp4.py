"""Numbers of 4 bits (e2m1: a sign and 0, 0.5, 1, 1.5, 2, 3, 4 or 6) in blocks with a scale: MXFP4 and NVFP4.

MXFP4, of the OCP Microscaling Formats specification 1.0: 32 numbers and a power of two (e8m0). NVFP4, of NVIDIA's
Blackwell: 16 numbers and an e4m3, which a float32 for the whole matrix scales again. In both the number of an even column
is the low half of its byte. Twice a number is an integer, so codes of 8 bits with half the scale hold them exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.quantized.integers import IntegerRows, coded, groups_of
from genai.export.checkpoint.quantized.scaled import ScaledRows
from genai.export.checkpoint.quantized.views import Converted, PackedIntegers
from genai.export.checkpoint.rows import Rows

__all__ = ["MXFP4_BLOCK", "NVFP4_BLOCK", "fp4_rows", "half_powers", "halves"]

Array = NDArray[Any]
Floats = NDArray[np.float32]

MXFP4_BLOCK, NVFP4_BLOCK = 32, 16

ZERO = 128  # the code of 0
_MAGNITUDES = np.asarray([0, 1, 2, 3, 4, 6, 8, 12], np.float32)
_DOUBLED = np.concatenate(
    [_MAGNITUDES, -_MAGNITUDES]
)  # twice the numbers 0 to 15, whose highest bit is the sign
_EXPONENT_BIAS = 127
_NOT_A_NUMBER = 255


def fp4_rows(
    packed: Array, scales: Array, half: Callable[[Array], Floats], *, block: int, method: str
) -> Rows:
    """Return a matrix of such numbers, with its codes.

    Args:
        packed: uint8 [rows, columns / 2].
        scales: [rows, columns / block], as they are stored.
        half: Makes of stored scales half their value.
        block: Columns of a scale.
        method: The format's name, for the manifest.
    """
    num_columns = 2 * packed.shape[1]
    numbers, scales_by_half = PackedIntegers(packed, 4, num_columns), Converted(scales, half)
    codes = Converted(numbers, lambda each: (ZERO + _DOUBLED[each]).astype(np.uint8))
    rows = IntegerRows(codes, scales_by_half, ZERO, 8, groups_of(num_columns, block))
    # Beside the codes stands -0, which they lack.
    floats = ScaledRows(Converted(numbers, lambda each: _DOUBLED[each]), scales_by_half, (1, block))
    return coded(rows, method=method, floats=floats)


def half_powers(exponents: Array) -> Floats:
    """Return half the powers of two that bytes of e8m0 are; 255 is no number."""
    with np.errstate(over="ignore"):
        powers: Floats = np.ldexp(np.float32(0.5), exponents.view(np.uint8).astype(np.int32) - _EXPONENT_BIAS)
    powers[exponents.view(np.uint8) == _NOT_A_NUMBER] = np.nan
    return powers


def halves(factor: np.float32, *, divides: bool = False) -> Callable[[Array], Floats]:
    """Return a function that halves scales and multiplies them by a factor, or divides."""

    def half(scales: Array) -> Floats:
        values: Floats = scales.astype(np.float32)
        return np.float32(0.5) * (values / factor if divides else values * factor)

    return half
