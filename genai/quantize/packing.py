"""Codes of 4 bits, two in a byte: the even one is the low half. Codes of 8 bits are bytes as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_codes", "unpack_codes"]

Codes = NDArray[np.uint8]


def pack_codes(codes: Codes, *, bits: int) -> Codes:
    """Pack along the last axis: uint8 [..., n] becomes [..., ceil(n * bits / 8)]; what pads the last byte is 0."""
    if bits == 8:
        return codes
    if codes.shape[-1] % 2:
        codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, 1)])
    packed: Codes = codes[..., 0::2] | (codes[..., 1::2] << np.uint8(4))
    return packed


def unpack_codes(packed: Codes, *, bits: int, count: int) -> Codes:
    """Return the first `count` codes along the last axis: uint8 [..., count]."""
    if bits == 8:
        return packed[..., :count]
    halves = np.stack([packed & 15, packed >> 4], axis=-1)
    return halves.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :count]
