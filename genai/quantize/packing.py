"""Codes of 2, 4 or 8 bits in bytes, the first in the lowest bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_codes", "unpack_codes"]

Codes = NDArray[np.uint8]


def pack_codes(codes: Codes, *, bits: int) -> Codes:
    """Pack along the last axis: uint8 [..., n] becomes [..., ceil(n * bits / 8)]; what pads the last byte is 0."""
    if bits == 8:
        return codes
    per_byte = 8 // bits
    if missing := -codes.shape[-1] % per_byte:
        codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)])
    packed: Codes = codes[..., ::per_byte].copy()
    for place in range(1, per_byte):
        packed |= codes[..., place::per_byte] << np.uint8(place * bits)
    return packed


def unpack_codes(packed: Codes, *, bits: int, count: int) -> Codes:
    """Return the first `count` codes along the last axis: uint8 [..., count]."""
    if bits == 8:
        return packed[..., :count]
    per_byte = 8 // bits
    places = [packed >> np.uint8(place * bits) for place in range(per_byte)]
    codes = np.stack(places, axis=-1) & np.uint8((1 << bits) - 1)
    return codes.reshape(*packed.shape[:-1], per_byte * packed.shape[-1])[..., :count]
