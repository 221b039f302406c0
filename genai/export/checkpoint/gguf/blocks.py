"""Blocks of GGUF's types taken apart as ggml defines them (ggml-quants.c, `dequantize_row_*`): codes, scales, offsets.

Symmetric schemes have their zero in the middle of the codes, so codes are shifted; where every block has a minimum of
its own, it is an offset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.gguf.types import method_of
from genai.quantize import BlockScheme

__all__ = ["CARRIED", "CarriedType"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CarriedType:
    """A type whose blocks a `QuantizedMatrix` holds.

    Args:
        scheme: What the kernels take them for.
        codes: uint8 [blocks, block's bytes] -> uint8 [blocks, elements], shifted to the scheme's zero point.
        scales: The same -> float32 [blocks, scales of a block].
        offsets: The same, of what is added to the weights; `None` if nothing is.
    """

    scheme: BlockScheme
    codes: Callable[[Bytes], Bytes]
    scales: Callable[[Bytes], Floats]
    offsets: Callable[[Bytes], Floats] | None = None


def _carried(
    name: str,
    bits: int,
    block_size: int,
    codes: Callable[[Bytes], Bytes],
    scales: Callable[[Bytes], Floats],
    offsets: Callable[[Bytes], Floats] | None = None,
) -> tuple[str, CarriedType]:
    scale_type = "float16" if scales is _half else "float32"
    scheme = BlockScheme(bits, block_size, method=method_of(name), scale_type=scale_type)
    return name, CarriedType(scheme, codes, scales, offsets)


def _half(blocks: Bytes, start: int = 0) -> Floats:
    """The float16 that begins at a byte: float32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view("<f2").astype(np.float32)


def _minimum(blocks: Bytes) -> Floats:
    """What Q4_1 and Q5_1 add."""
    return _half(blocks, 2)


def _fields(packed: Bytes, width: int, bits: int) -> Bytes:
    """Numbers of so many bits, of which groups of `width` bytes hold first all lowest, then all next ones."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    numbers = packed.reshape(len(packed), -1, 1, width) >> shifts
    return (numbers & np.uint8((1 << bits) - 1)).reshape(len(packed), -1)


def _nibbles(packed: Bytes, width: int) -> Bytes:
    return _fields(packed, width, 4)


def _fifth_bits(packed: Bytes) -> Bytes:
    """Bits 0 to 31 of four bytes, as 16."""
    return np.unpackbits(packed, axis=-1, bitorder="little") << np.uint8(4)


def _q5_0_codes(blocks: Bytes) -> Bytes:
    return (_nibbles(blocks[:, 6:], 16) | _fifth_bits(blocks[:, 2:6])) + np.uint8(128 - 16)


def _q5_1_codes(blocks: Bytes) -> Bytes:
    return (_nibbles(blocks[:, 8:], 16) | _fifth_bits(blocks[:, 4:8])) + np.uint8(128)


def _k_scales(blocks: Bytes) -> Floats:
    """Eight scales of 6 bits in 12 bytes, and what they are multiplied by, of Q4_K and Q5_K."""
    low, high = blocks[:, 4:8], blocks[:, 12:16]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 2) & 48)], axis=-1)
    return _half(blocks) * scales.astype(np.float32)


def _k_minima(blocks: Bytes) -> Floats:
    """The eight minima beside them, which are subtracted."""
    middle, high = blocks[:, 8:12], blocks[:, 12:16]
    minima = np.concatenate([middle & 63, (high >> 4) | ((middle >> 2) & 48)], axis=-1)
    return -_half(blocks, 2) * minima.astype(np.float32)


def _q5_k_codes(blocks: Bytes) -> Bytes:
    fifths = _fields(blocks[:, 16:48], 32, 1) << np.uint8(4)
    return (_nibbles(blocks[:, 48:], 32) | fifths) + np.uint8(128)


def _q6_k_codes(blocks: Bytes) -> Bytes:
    high = _fields(blocks[:, 128:192], 32, 2) << np.uint8(4)
    return (_nibbles(blocks[:, :128], 64) | high) + np.uint8(128 - 32)


def _q6_k_scales(blocks: Bytes) -> Floats:
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    return _half(blocks, 208) * scales


def _q3_k_codes(blocks: Bytes) -> Bytes:
    """Two bits, and one more that is 0 where 4 is subtracted."""
    third = _fields(blocks[:, :32], 32, 1) << np.uint8(2)
    return (_fields(blocks[:, 32:96], 32, 2) | third) + np.uint8(8 - 4)


def _q3_k_scales(blocks: Bytes) -> Floats:
    low, high = _nibbles(blocks[:, 96:104], 8), _fields(blocks[:, 104:108], 4, 2)
    scales = (low | (high << np.uint8(4))).astype(np.int8) - np.int8(32)
    return _half(blocks, 108) * scales.astype(np.float32)


def _q2_k_scales(blocks: Bytes) -> Floats:
    return _half(blocks, 80) * (blocks[:, :16] & 15).astype(np.float32)


def _q2_k_codes(blocks: Bytes) -> Bytes:
    return _fields(blocks[:, 16:80], 32, 2) + np.uint8(8)


def _q2_k_minima(blocks: Bytes) -> Floats:
    return -_half(blocks, 82) * (blocks[:, :16] >> 4).astype(np.float32)


def _table(*values: int) -> Bytes:
    """Codes of 8 bits for a table of 16 whole numbers."""
    return (np.asarray(values, np.int16) + 128).astype(np.uint8)


_IQ4_CODES = _table(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_MXFP4_CODES = _table(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)  # twice e2m1's numbers


def _iq4_xs_scales(blocks: Bytes) -> Floats:
    high = np.ascontiguousarray(blocks[:, 2:4]).view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16)
    low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=-1).reshape(len(blocks), 8)
    scales = (low | ((high & 3) << 4).astype(np.uint8)).astype(np.int8) - np.int8(32)
    return _half(blocks) * scales.astype(np.float32)


def _mxfp4_scales(blocks: Bytes) -> Floats:
    """Half of a power of two, for the codes are twice the numbers."""
    exponents = blocks[:, :1].astype(np.int32)
    scales: NDArray[Any] = np.ldexp(np.float32(1), exponents - 128)
    return scales.astype(np.float32)


def _shifted(
    minimum: Callable[[Bytes], Floats], scale: Callable[[Bytes], Floats]
) -> Callable[[Bytes], Floats]:
    """The offset that makes up for the zero point 8 of 4-bit codes: one rounding more than ggml's own sum has."""
    return lambda blocks: minimum(blocks) + np.float32(8) * scale(blocks)


CARRIED: Mapping[str, CarriedType] = dict(
    [
        _carried("Q4_0", 4, 32, lambda b: _nibbles(b[:, 2:], 16), _half),
        _carried("Q4_1", 4, 32, lambda b: _nibbles(b[:, 4:], 16), _half, _shifted(_minimum, _half)),
        _carried("Q5_0", 8, 32, _q5_0_codes, _half),
        _carried("Q5_1", 8, 32, _q5_1_codes, _half, _minimum),
        _carried("Q8_0", 8, 32, lambda b: b[:, 2:] ^ np.uint8(128), _half),
        _carried("Q2_K", 4, 16, _q2_k_codes, _q2_k_scales, _q2_k_minima),
        _carried("Q3_K", 4, 16, _q3_k_codes, _q3_k_scales),
        _carried("Q4_K", 4, 32, lambda b: _nibbles(b[:, 16:], 32), _k_scales, _shifted(_k_minima, _k_scales)),
        _carried("Q5_K", 8, 32, _q5_k_codes, _k_scales, _k_minima),
        _carried("Q6_K", 8, 16, _q6_k_codes, _q6_k_scales),
        _carried("IQ4_NL", 8, 32, lambda b: _IQ4_CODES[_nibbles(b[:, 2:], 16)], _half),
        _carried("IQ4_XS", 8, 32, lambda b: _IQ4_CODES[_nibbles(b[:, 8:], 16)], _iq4_xs_scales),
        _carried("MXFP4", 8, 32, lambda b: _MXFP4_CODES[_nibbles(b[:, 1:], 16)], _mxfp4_scales),
    ]
)
"""The types that are carried over bit for bit."""
