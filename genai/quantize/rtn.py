"""Round-to-nearest quantization of rows, in the layout of MatMulNBits.

The scale is signed: the weight of largest magnitude in a block maps exactly to the most negative code, so all
2**bits codes are in use (llama.cpp's Q4_0 does the same). On normal weights its mean squared error at 4 bits is 22 %
below that of `max(abs) / 7`, whose codes never reach -8; a least-squares scale would gain 3 % more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genai.quantize.scheme import BlockScheme

__all__ = ["dequantize_rows", "quantize_rows", "quantize_scales"]

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]


def quantize_scales(rows: Floats, scheme: BlockScheme) -> Floats:
    """Return the scale of each block: float32 [rows, blocks]; 0 for a block of zeros.

    Args:
        rows: float32 [rows, columns].
        scheme: The bits and block size.
    """
    return _scales_of(_blocks_of(rows, scheme), scheme)


def quantize_rows(rows: Floats, scheme: BlockScheme) -> Codes:
    """Return the packed codes: uint8 [rows, blocks, block_bytes].

    At 4 bits the code of an even column is the low half of its byte. The columns that pad the last block are 0.

    Args:
        rows: float32 [rows, columns].
        scheme: The bits and block size.
    """
    blocks = _blocks_of(rows, scheme)
    scales = _scales_of(blocks, scheme)[..., None]
    is_normal = np.abs(scales) >= np.finfo(np.float32).tiny  # the inverse of a smaller one is infinite
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=is_normal)
    codes = np.multiply(blocks, inverse)
    np.rint(codes, out=codes)
    codes += scheme.zero_point
    np.clip(codes, 0, 2 * scheme.zero_point - 1, out=codes)
    whole = codes.astype(np.uint8)
    if scheme.bits == 8:
        return whole
    packed: Codes = whole[..., 0::2] | (whole[..., 1::2] << np.uint8(4))
    return packed


def dequantize_rows(codes: Codes, scales: Floats, scheme: BlockScheme, *, num_columns: int) -> Floats:
    """Return the weights that codes and scales stand for: float32 [rows, columns]."""
    whole = codes if scheme.bits == 8 else np.stack([codes & 15, codes >> 4], axis=-1)
    blocks = whole.reshape(*scales.shape, scheme.block_size).astype(np.float32) - np.float32(
        scheme.zero_point
    )
    blocks *= scales[..., None]
    return blocks.reshape(len(scales), -1)[:, :num_columns]


def _blocks_of(rows: Floats, scheme: BlockScheme) -> Floats:
    num_rows, num_columns = rows.shape
    num_blocks = scheme.num_blocks(num_columns)
    padding = num_blocks * scheme.block_size - num_columns
    if padding:
        rows = np.pad(rows, ((0, 0), (0, padding)))
    return np.ascontiguousarray(rows, np.float32).reshape(num_rows, num_blocks, scheme.block_size)


def _scales_of(blocks: Floats, scheme: BlockScheme) -> Floats:
    highest, lowest = blocks.max(axis=-1), blocks.min(axis=-1)
    extreme = np.where(highest > -lowest, highest, lowest)
    scales: Floats = extreme / np.float32(-scheme.zero_point)
    return scales
