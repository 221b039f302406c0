"""Matrices that are read some rows, or some columns, at a time: what a weight is before anybody has computed it.

A numpy view of the checkpoint is one already. The classes here select, reorder and gather views without reading
them, and answer the same few operations: shape, length and slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Experts", "InterleavedRows", "PaddedRows", "Rows", "SelectedRows", "experts_of"]

Array = NDArray[Any]


class Rows(Protocol):
    """Stored numbers, [rows] or [rows, columns]; `rows[a:b]` and `rows[:, a:b]` are arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """Some rows of a matrix or vector, in another order.

    Args:
        source: Where they come from.
        indices: int64 [rows], which ones.
    """

    source: Rows
    indices: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return (len(self.indices), *self.source.shape[1:])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Array:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        wanted = self.indices[rows]
        if not len(wanted):
            return np.asarray(self.source[:0])
        first, last = int(wanted.min()), int(wanted.max()) + 1
        block = self.source[(slice(first, last), *columns)]
        return np.asarray(block[wanted - first])


@dataclass(frozen=True, slots=True)
class InterleavedRows:
    """The rows of several matrices, or vectors, of one shape in turn.

    Args:
        parts: The matrices: their first rows come first, then their second ones.
    """

    parts: tuple[Rows, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        num_rows, *columns = self.parts[0].shape
        return (num_rows * len(self.parts), *columns)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Array:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        start, stop, step = rows.indices(len(self))
        first, last, count = start // len(self.parts), -(-stop // len(self.parts)), len(self.parts)
        blocks = [np.asarray(part[(slice(first, last), *columns)]) for part in self.parts]
        joined = np.stack(blocks, axis=1)
        joined = joined.reshape(joined.shape[0] * joined.shape[1], *joined.shape[2:])
        return joined[start - first * count : stop - first * count : step]


@dataclass(frozen=True, slots=True)
class PaddedRows:
    """A matrix, or vector, with rows of zeros after its own.

    Args:
        source: The matrix.
        num_rows: Rows in all.
    """

    source: Rows
    num_rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return (self.num_rows, *self.source.shape[1:])

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Array:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        start, stop, step = rows.indices(self.num_rows)
        block = np.asarray(self.source[(slice(min(start, len(self.source)), stop), *columns)])
        missing = max(0, stop - start) - len(block)
        return np.pad(block, [(0, missing), *[(0, 0)] * (block.ndim - 1)])[::step]


@dataclass(frozen=True, slots=True)
class Experts:
    """Matrices of one shape stacked along a new first axis: [experts, rows, columns], or [experts, rows].

    Args:
        parts: The matrix of each expert.
    """

    parts: tuple[Rows, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return (len(self.parts), *self.parts[0].shape)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, key: slice) -> Array:
        return np.stack([np.asarray(part[:]) for part in self.parts[key]])


def experts_of(rows: Rows) -> Sequence[Rows]:
    """Return the matrix of each expert of a stack of them."""
    return rows.parts if isinstance(rows, Experts) else [rows[index] for index in range(len(rows))]
