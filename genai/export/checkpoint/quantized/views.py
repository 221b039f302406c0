"""Views of stored arrays that are computed where they are looked at: unpacked, transposed, converted.

Each answers `view[rows, columns]` with slices, or `view[rows]`, and reads no more of its source than that needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.rows import Rows

__all__ = ["ComputedRows", "Converted", "PackedIntegers", "constant_of", "slices_of", "unsigned"]

Array = NDArray[Any]
Codes = NDArray[np.uint8]

_ROWS_AT_ONCE = 1024


def slices_of(key: slice | tuple[slice, ...]) -> tuple[slice, slice]:
    """Return the slices of rows and columns that an index is."""
    rows, *columns = key if isinstance(key, tuple) else (key,)
    return rows, columns[0] if columns else slice(None)


@dataclass(frozen=True, slots=True)
class PackedIntegers:
    """Integers of a few bits, back to back in words from the lowest bit up; slices are uint8.

    Args:
        words: uint8 or int32 [rows, words].
        bits: Bits of each, 1 to 8.
        num_columns: How many there are in a row; what is left of its last word means nothing.
        order: Where in its word each one lies, for formats that shuffle them; `None` is in order.
    """

    words: Array
    bits: int
    num_columns: int
    order: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Its shape."""
        return (len(self.words), self.num_columns)

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Codes:
        rows, columns = slices_of(key)
        start, stop, step = columns.indices(self.num_columns)
        if step != 1:
            return self[rows, :][:, columns]
        word_bits = 8 * self.words.dtype.itemsize
        common = math.gcd(word_bits, self.bits)
        unit, words_of_unit = word_bits // common, self.bits // common
        first, last = start // unit, max(start // unit, -(-stop // unit))
        codes = _unpacked(self.words[rows, first * words_of_unit : last * words_of_unit], self.bits)
        if self.order is not None:
            num_rows, count = codes.shape
            in_words = codes.reshape(num_rows, count // len(self.order), len(self.order))
            codes = in_words[..., self.order].reshape(num_rows, count)
        return codes[:, start - first * unit : max(start, stop) - first * unit]


@dataclass(frozen=True, slots=True)
class Converted:
    """A matrix whose numbers are each what a function makes of the stored one.

    Args:
        source: What is stored.
        convert: A function of an array, element by element.
    """

    source: Rows
    convert: Callable[[Array], Array]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Array:
        return self.convert(np.asarray(self.source[slices_of(key)]))


@dataclass(frozen=True, slots=True)
class ComputedRows:
    """An array of any number of axes whose rows are computed.

    Args:
        shape: Its shape.
        read: Returns some rows.
    """

    shape: tuple[int, ...]
    read: Callable[[slice], Array]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Array:
        rows, *others = key if isinstance(key, tuple) else (key,)
        return self.read(rows)[(slice(None), *others)]


def unsigned(integers: Array) -> Codes:
    """Return int8 as codes with the zero at 128."""
    codes: Codes = integers.view(np.uint8) ^ np.uint8(128)
    return codes


def constant_of(view: Rows) -> int | None:
    """Return the integer that all elements of a matrix are; `None` if they differ or there are none."""
    if not view.shape[0] or not view.shape[1]:
        return None
    first = int(view[:1, :1][0, 0])
    for start in range(0, len(view), _ROWS_AT_ONCE):
        if (np.asarray(view[start : start + _ROWS_AT_ONCE, :]) != first).any():
            return None
    return first


def _unpacked(words: Array, bits: int) -> Codes:
    """Return the integers of [rows, words]: uint8 [rows, words' bits // bits]."""
    data = np.ascontiguousarray(words).view(np.uint8)
    num_rows, count = len(data), data.shape[1] * 8 // bits
    if bits == 8:
        return data
    if 8 % bits == 0:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        codes: Codes = (data[..., None] >> shifts) & np.uint8((1 << bits) - 1)
        return codes.reshape(num_rows, count)
    stream = np.unpackbits(data, axis=-1, bitorder="little")[:, : count * bits]
    return np.packbits(stream.reshape(num_rows, count, bits), axis=-1, bitorder="little")[..., 0]
