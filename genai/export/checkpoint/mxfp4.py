"""Matrices in MXFP4, decoded some rows at a time.

A block is 32 numbers of 4 bits (e2m1: a sign and 0, 0.5, 1, 1.5, 2, 3, 4 or 6) and one power of two (e8m0), as the
OCP Microscaling Formats specification 1.0 says. The number of an even column is the low half of its byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MXFP4_BLOCK", "Mxfp4Rows"]

MXFP4_BLOCK = 32

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

EXPONENT_BIAS = 127
NOT_A_NUMBER = 255


@dataclass(frozen=True, slots=True)
class Mxfp4Rows:
    """A matrix [rows, columns] that is stored in MXFP4; slices of it are float32.

    Args:
        blocks: uint8 [rows, blocks, 16], the numbers.
        scales: uint8 [rows, blocks], the exponents of 2, plus 127.
    """

    blocks: Bytes
    scales: Bytes

    @property
    def shape(self) -> tuple[int, int]:
        """Its shape."""
        num_rows, num_blocks = self.scales.shape
        return (num_rows, num_blocks * MXFP4_BLOCK)

    def __len__(self) -> int:
        return len(self.scales)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Floats:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        if not columns:
            return _decode(self.blocks[rows], self.scales[rows])
        start, stop, step = columns[0].indices(self.shape[1])
        first, last = start // MXFP4_BLOCK, -(-stop // MXFP4_BLOCK)
        decoded = _decode(self.blocks[rows, first:last], self.scales[rows, first:last])
        offset = first * MXFP4_BLOCK
        return decoded[:, start - offset : stop - offset : step]


def _decode(blocks: Bytes, scales: Bytes) -> Floats:
    """Return the numbers of [rows, blocks, 16] bytes: float32 [rows, columns]; a scale of 255 makes them NaN."""
    magnitudes = np.asarray([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], np.float32)
    values = np.concatenate([magnitudes, -magnitudes])
    numbers = np.stack([values[blocks & 15], values[blocks >> 4]], axis=-1)
    exponents = scales.astype(np.int32) - EXPONENT_BIAS
    with np.errstate(over="ignore"):  # infinity; whoever writes it refuses it
        decoded: NDArray[Any] = np.ldexp(numbers.reshape(*scales.shape, MXFP4_BLOCK), exponents[..., None])
    decoded[scales == NOT_A_NUMBER] = np.nan
    return decoded.reshape(len(scales), -1)
