"""Matrices that are read some rows, or some columns, at a time: what a weight is before anybody has computed it.

A numpy view of the checkpoint is one already. The classes here select, reorder and gather views without reading
them, and answer the same few operations: shape, length and slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genai.quantize import QuantizedMatrix

__all__ = [
    "CodedRows",
    "DecodedRows",
    "Experts",
    "InterleavedRows",
    "MergedRows",
    "PaddedRows",
    "RescaledRows",
    "Rows",
    "SelectedRows",
    "TransposedRows",
    "codes_of",
    "experts_of",
    "is_rounded_anew",
    "methods_of",
    "stacked_codes",
]

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
class CodedRows:
    """A matrix that another tool quantized, in a layout that ONNX Runtime's kernels hold; slices of it are float32.

    Args:
        matrix: Its codes and what belongs to them.
        floats: The numbers that they stand for, of which a format may read some columns for less than all.
    """

    matrix: QuantizedMatrix
    floats: Rows | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Its shape."""
        return (self.matrix.num_rows, self.matrix.num_columns)

    def __len__(self) -> int:
        return self.matrix.num_rows

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Array:
        if self.floats is not None:
            return np.asarray(self.floats[key])
        rows, *columns = key if isinstance(key, tuple) else (key,)
        values = self.matrix.dequantize(rows)
        return values[:, columns[0]] if columns else values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all of it as floats, for views that no codes can follow."""
        return self[:].astype(dtype or np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """A matrix that another tool quantized in a way that no kernel holds; slices of it are floats.

    Args:
        source: Decodes what is looked at.
        method: How it was quantized, for the manifest.
        stays_float: Whether a graph that keeps codes stores it as floats; else it is rounded anew.
    """

    source: Rows
    method: str
    stays_float: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Array:
        return np.asarray(self.source[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all of it as floats."""
        return self[:].astype(dtype or np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class TransposedRows:
    """A matrix that is described with its axes the other way round than it lies: [columns, rows] of its source.

    Args:
        source: The matrix as it lies.
    """

    source: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.source.shape[::-1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Array:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        return np.asarray(self.source[columns[0] if columns else slice(None), rows]).T


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
    """A matrix, or vector, with rows of zeros after its own, and perhaps columns.

    Args:
        source: The matrix.
        num_rows: Rows in all.
        num_columns: Columns in all; `None` adds none.
    """

    source: Rows
    num_rows: int
    num_columns: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        columns = (
            self.source.shape[1:] if self.num_columns is None else (self.num_columns, *self.source.shape[2:])
        )
        return (self.num_rows, *columns)

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, key: slice | tuple[slice, slice]) -> Array:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        start, stop, step = rows.indices(self.num_rows)
        block = np.asarray(self.source[min(start, len(self.source)) : stop])
        missing = (
            max(0, stop - start) - len(block),
            *(size - found for size, found in zip(self.shape[1:], block.shape[1:], strict=True)),
        )
        return np.pad(block, [(0, count) for count in missing])[(slice(None, None, step), *columns)]


@dataclass(frozen=True, slots=True)
class RescaledRows:
    """A matrix whose columns are multiplied and whose rows are divided.

    Args:
        source: The matrix.
        factors: float32 [columns].
        divisors: float32 [rows].
    """

    source: Rows
    factors: NDArray[np.float32]
    divisors: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> NDArray[np.float32]:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        scaled = np.asarray(self.source[key], np.float32) * self.factors[columns]
        return scaled / self.divisors[rows, None]


@dataclass(frozen=True, slots=True)
class MergedRows:
    """A matrix with a product of two narrow ones added to it: source + b a, each row perhaps brought to a length.

    Args:
        source: The matrix.
        a: float32 [rank, columns].
        b: float32 [rows, rank].
        lengths: float32 [rows], what each row's length becomes (DoRA, https://arxiv.org/abs/2402.09353); `None` leaves it.
    """

    source: Rows
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    lengths: NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> NDArray[np.float32]:
        rows, *others = key if isinstance(key, tuple) else (key,)
        columns = others[0] if others else slice(None)
        wanted = slice(None) if self.lengths is not None else columns
        merged = np.asarray(self.source[rows, wanted], np.float32) + self.b[rows] @ self.a[:, wanted]
        if self.lengths is None:
            return merged
        factors = self.lengths[rows] / np.linalg.norm(merged, axis=1)
        scaled: NDArray[np.float32] = (merged * factors[:, None])[:, columns]
        return scaled

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all of it."""
        return self[:].astype(dtype or np.float32, copy=False)


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


def codes_of(rows: Rows) -> QuantizedMatrix | None:
    """Return the codes of a view whose rows another tool quantized; `None` where they are floats, or not of one scheme."""
    match rows:
        case CodedRows(matrix):
            return matrix
        case SelectedRows(source, indices):
            return _joined([source], lambda parts: SelectedRows(parts[0], indices))
        case InterleavedRows(parts):
            return _joined(parts, lambda parts: InterleavedRows(tuple(parts)))
        case PaddedRows(source, num_rows, None):  # a scale of 0 makes its codes zeros
            return _joined([source], lambda parts: PaddedRows(parts[0], num_rows))
        case PaddedRows(source, num_rows, int() as num_columns):
            padded = codes_of(source)
            return None if padded is None else _padded(padded, num_rows, num_columns)
    return None


def methods_of(rows: Rows) -> frozenset[str]:
    """Return how the parts of a view were quantized, where another tool did so; nothing for floats."""
    match rows:
        case CodedRows(matrix):
            return frozenset({matrix.scheme.method})
        case DecodedRows(method=method):
            return frozenset({method})
        case SelectedRows(source) | PaddedRows(source):
            return methods_of(source)
        case InterleavedRows(parts) | Experts(parts):
            return frozenset().union(*map(methods_of, parts))
    return frozenset()


def is_rounded_anew(rows: Rows) -> bool:
    """Whether a graph that keeps codes rounds a view that another tool quantized, because its codes cannot be kept."""
    match rows:
        case DecodedRows(stays_float=True):
            return False
        case SelectedRows(source) | PaddedRows(source):
            return is_rounded_anew(source)
        case InterleavedRows(parts) | Experts(parts):
            return any(map(is_rounded_anew, parts))
    return bool(methods_of(rows))


def stacked_codes(views: Sequence[Rows]) -> QuantizedMatrix | None:
    """Return the codes of matrices stacked along their rows, as `codes_of` does of one."""
    return codes_of(views[0]) if len(views) == 1 else _joined(views, lambda parts: _StackedRows(tuple(parts)))


def _padded(matrix: QuantizedMatrix, num_rows: int, num_columns: int) -> QuantizedMatrix:
    """Append rows and whole blocks of zeros, whose inputs follow the others whatever order these have."""
    num_blocks = matrix.scheme.num_blocks(num_columns)
    point_bytes, order = matrix.scheme.zero_point_bytes(num_columns), matrix.input_order

    def pad(values: Any, width: int) -> PaddedRows:
        return PaddedRows(values, num_rows, width)

    return replace(
        matrix,
        num_columns=num_columns,
        codes=pad(matrix.codes, num_blocks),
        scales=pad(matrix.scales, num_blocks),
        zero_points=None if matrix.zero_points is None else pad(matrix.zero_points, point_bytes),
        offsets=None if matrix.offsets is None else pad(matrix.offsets, num_blocks),
        input_order=None if order is None else np.append(order, np.arange(matrix.num_columns, num_columns)),
    )


def _joined(sources: Sequence[Rows], join: Callable[[list[Any]], Rows]) -> QuantizedMatrix | None:
    found = [codes_of(source) for source in sources]
    matrices = [matrix for matrix in found if matrix is not None]
    if len(matrices) < len(sources) or len({matrix.layout for matrix in matrices}) > 1:
        return None
    first = matrices[0]
    return replace(
        first,
        codes=join([matrix.codes for matrix in matrices]),
        scales=join([matrix.scales for matrix in matrices]),
        zero_points=None if first.zero_points is None else join([each.zero_points for each in matrices]),
        offsets=None if first.offsets is None else join([each.offsets for each in matrices]),
    )


@dataclass(frozen=True, slots=True)
class _StackedRows:
    """Several matrices of one width, one below the other."""

    parts: tuple[Rows, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return sum(part.shape[0] for part in self.parts)

    def __getitem__(self, key: slice) -> Array:
        start, stop, _ = key.indices(len(self))
        pieces, first = [], 0
        for part in self.parts:
            last = first + part.shape[0]
            if first < stop and start < last:
                pieces.append(np.asarray(part[max(start - first, 0) : min(stop, last) - first]))
            first = last
        return np.concatenate(pieces) if pieces else np.asarray(self.parts[0][:0])
