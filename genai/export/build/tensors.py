"""Tensors that are computed row by row while they are written, so that none is ever whole in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.checkpoint.checkpoint import Array
from genai.export.checkpoint.rows import Rows

__all__ = ["LazyTensor", "from_array", "stack", "stack_transposed"]

CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor whose rows (slices of its first axes) are computed on demand.

    Args:
        dtype: ONNX type.
        shape: Its shape, at least one axis.
        read: Returns rows [start, stop) as an array of this type: [stop - start, *shape[row_axes:]].
        row_axes: How many of the first axes count the rows; stacks of matrices have two.
    """

    dtype: ir.DataType
    shape: tuple[int, ...]
    read: Callable[[int, int], Array]
    row_axes: int = 1

    @property
    def num_bytes(self) -> int:
        """Its size on disk."""
        return math.prod(self.shape) * self.dtype.bitwidth // 8

    def chunks(self) -> Iterator[memoryview]:
        """Yield its bytes in order, a few megabytes at a time.

        Raises:
            FloatingPointError: A value is infinite or no number, perhaps only in this type.
        """
        row_shape = self.shape[self.row_axes :]
        num_rows = math.prod(self.shape[: self.row_axes])
        step = max(1, CHUNK_BYTES // max(1, 4 * math.prod(row_shape)))  # rows pass through float32
        for start in range(0, num_rows, step):
            stop = min(start + step, num_rows)
            with np.errstate(over="ignore", invalid="ignore"):
                rows = np.ascontiguousarray(self.read(start, stop), self.dtype.numpy())
            if self.dtype.is_floating_point() and not np.isfinite(rows).all():
                raise FloatingPointError(f"a value in rows {start} to {stop} is infinite or no number")
            assert rows.shape == (stop - start, *row_shape), f"{rows.shape} is not rows of {self.shape}"
            yield rows.reshape(-1).view(np.uint8).data


def from_array(array: Array, dtype: ir.DataType) -> LazyTensor:
    """Return a small array as a tensor of this type."""
    return LazyTensor(dtype, array.shape, lambda start, stop: array[start:stop].astype(dtype.numpy()))


def stack(views: Sequence[Rows], dtype: ir.DataType) -> LazyTensor:
    """Return matrices or vectors stacked along their first axis, converted to this type."""
    ends = np.cumsum([len(view) for view in views]).tolist()

    def read(start: int, stop: int) -> Array:
        pieces = [
            view[max(start - end + len(view), 0) : max(stop - end + len(view), 0)].astype(dtype.numpy())
            for view, end in zip(views, ends, strict=True)
            if end - len(view) < stop and start < end
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    return LazyTensor(dtype, (ends[-1], *views[0].shape[1:]), read)


def stack_transposed(views: Sequence[Rows], dtype: ir.DataType) -> LazyTensor:
    """Return the transpose of matrices stacked along their first axis: [columns, all rows]."""

    def read(start: int, stop: int) -> Array:
        return np.concatenate([view[:, start:stop].T.astype(dtype.numpy()) for view in views], axis=1)

    return LazyTensor(dtype, (views[0].shape[1], sum(len(view) for view in views)), read)
