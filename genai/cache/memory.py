"""The device seam: memory that ONNX Runtime reads and writes, known to the rest of genai by its address.

Owns the two types through which everything above `runtime/` sees a device. Knows no device: `genai.runtime`
implements `Device` for the host and for ONNX Runtime's accelerators, tests implement one that poisons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Buffer", "Device"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Contiguous memory on a device, or a view of some rows of it.

    Args:
        shape: Its shape, in elements.
        dtype: Its element type.
        address: Where it begins, as the device counts.
        owner: Whatever keeps the memory alive; shared by all views.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    address: int
    owner: object

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, first: int, count: int) -> Buffer:
        """Return a view of rows `first` to `first + count - 1` of the first axis; no copy."""
        assert 0 <= first < first + count <= self.shape[0], (self.shape, first, count)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        return Buffer((count, *self.shape[1:]), self.dtype, self.address + first * row_bytes, self.owner)

    def shaped(self, shape: tuple[int, ...]) -> Buffer:
        """Return the buffer's beginning as a buffer of another shape; no copy."""
        assert math.prod(shape) <= math.prod(self.shape), (shape, self.shape)
        return Buffer(shape, self.dtype, self.address, self.owner)


class Device(Protocol):
    """Allocates memory where a model runs, and copies to, from and within it.

    `name` and `index` are what ONNX Runtime calls the device ("cpu" 0, "cuda" 1, ...). All copies are complete
    when the call returns. `can_discard` says whether `discard` makes memory free for others.
    """

    name: str
    index: int
    can_discard: bool

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """Return new memory; its content is undefined.

        Raises:
            OutOfMemoryError: The device has not enough memory.
        """
        ...

    def free_bytes(self) -> int | None:
        """Return how much memory is free; `None` where nobody can tell, or it is the host's, which swaps."""
        ...

    def host_view(self, buffer: Buffer) -> npt.NDArray[Any] | None:
        """Return an array over the buffer's own memory, or None where the host cannot reach it."""
        ...

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return zeros on the host that are copied in often, from the fastest memory for it; they live as the device."""
        ...

    def copy_in(self, array: npt.NDArray[Any], buffer: Buffer) -> None:
        """Copy a host array of the buffer's shape and type into the buffer."""
        ...

    def copy_out(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Copy the buffer into a host array of its shape and type."""
        ...

    def copy_positions(
        self, source: Buffer, target: Buffer, count: int, *, source_start: int = 0, target_start: int = 0
    ) -> None:
        """Copy `count` positions of every head: source and target are [rows, heads, capacity, dim].

        The two may differ in capacity only, and must not overlap.
        """
        ...

    def discard(self, buffer: Buffer, start: int) -> None:
        """Give back what positions from `start` on of every head occupy; their content is undefined from now on.

        The buffer is [rows, heads, capacity, dim], and may be written again at any time.
        """
        ...
