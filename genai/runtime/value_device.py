"""Memory of which only whole values can be had, behind the seam `genai.cache.Device`: WebGPU's.

A buffer is a value for each of its rows, so that a run has one row. Values are known to ONNX Runtime by their handle,
which stands where other devices have an address; what is copied in part goes through the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.cache import Buffer
from genai.errors import GenerationError
from genai.runtime.devices import out_of_memory
from genai.runtime.ort import RUN_ERRORS

__all__ = ["ValueDevice"]


@dataclass(frozen=True, slots=True)
class RowValues(Buffer):
    """A buffer whose rows are values of their own: a view is of one row."""

    values: tuple[Buffer, ...] = ()

    def rows(self, first: int, count: int) -> Buffer:
        """Return one row."""
        assert count == 1, "rows of whole values have nothing in common"
        return self.values[first]


class ValueDevice:
    """Memory that a session of ONNX Runtime's allocates.

    Args:
        name: What ONNX Runtime calls the device.
        session: The session; it lives as long as a value of its does.
    """

    index = 0
    can_discard = False

    def __init__(self, name: str, session: Any) -> None:
        self.name = name
        self._session = session

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """Return new values, one for each row."""
        dtype = np.dtype(dtype)
        if not shape or shape[0] == 1:
            return self.allocate_value(shape, dtype)
        rows = tuple(self.allocate_value((1, *shape[1:]), dtype) for _ in range(shape[0]))
        return RowValues(shape, dtype, 0, None, rows)

    def allocate_value(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Buffer:
        """Return a new value, rows and all."""
        try:
            value = self._session.create_ortvalue_from_shape_and_type(shape, dtype, self.name)
        except RUN_ERRORS as error:
            raise out_of_memory(math.prod(shape) * dtype.itemsize, self.name) from error
        return Buffer(shape, dtype, value.data_ptr(), value)

    def free_bytes(self) -> None:
        """Return None: it does not tell."""

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return zeros."""
        return np.zeros(shape, dtype)

    def host_view(self, buffer: Buffer) -> None:
        """Return None: the host cannot reach this memory."""
        del buffer

    def copy_in(self, array: npt.NDArray[Any], buffer: Buffer) -> None:
        """Copy an array into a row, or into all."""
        for row, value in enumerate(_values(buffer)):
            part = array[row : row + 1] if isinstance(buffer, RowValues) else array
            source = np.ascontiguousarray(part, value.dtype).reshape(value.shape)
            self._move(source, _ort_value(value))

    def copy_out(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Copy a row, or all, into an array."""
        parts = [self._read(value) for value in _values(buffer)]
        array[...] = np.concatenate(parts).reshape(array.shape)

    def copy_positions(
        self, source: Buffer, target: Buffer, count: int, *, source_start: int = 0, target_start: int = 0
    ) -> None:
        """Copy `count` positions of every head: a whole row on the device, where both begin the same shape."""
        if not count:
            return
        if source.shape == target.shape and source_start == target_start == 0:
            self._move(_ort_value(source), _ort_value(target))
            return
        positions = self._read(source)[:, :, source_start : source_start + count]
        whole = self._read(target)
        whole[:, :, target_start : target_start + count] = positions
        self._move(whole, _ort_value(target))

    def discard(self, buffer: Buffer, start: int) -> None:
        """Do nothing: a value is freed as a whole."""
        del buffer, start

    def _read(self, value: Buffer) -> npt.NDArray[Any]:
        try:
            array: npt.NDArray[Any] = _ort_value(value).numpy()
        except RUN_ERRORS as error:
            raise self._failure(error) from error
        return array

    def _move(self, source: Any, target: Any) -> None:
        try:
            target.update_inplace(source)
        except RUN_ERRORS as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> GenerationError:
        return GenerationError(f"{self.name} failed: {error}")


def _values(buffer: Buffer) -> tuple[Buffer, ...]:
    return buffer.values if isinstance(buffer, RowValues) else (buffer,)


def _ort_value(buffer: Buffer) -> Any:
    assert not isinstance(buffer, RowValues)
    return buffer.owner
