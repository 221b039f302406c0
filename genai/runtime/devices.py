"""The host's memory, behind the seam `genai.cache.Device`."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import mmap
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper

from genai.cache import Buffer
from genai.errors import OutOfMemoryError

__all__ = ["HostDevice", "onnx_type", "out_of_memory"]

ALIGNMENT_BYTES = 64
HUGE_PAGE_BYTES = 1 << 21
"""A transparent huge page of Linux on x86-64 and on arm64 with small pages of 4 KiB."""


MIN_HUGE_PAGES = 8
"""Of fewer, a head's positions lie in small ones: a sequence's first token makes a whole page resident in every head."""


def onnx_type(dtype: np.dtype[Any]) -> int:
    """Return the ONNX element type of a numpy (or ml_dtypes) type."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))


class HostDevice:
    """The host's own memory, as numpy arrays. Pages cost nothing until they are written."""

    name = "cpu"
    index = 0
    can_discard = sys.platform == "linux"

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """Return new, aligned memory."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        positions_bytes = math.prod(shape[-2:]) * dtype.itemsize  # of one head of one slot
        try:
            is_wasteful = positions_bytes < MIN_HUGE_PAGES * HUGE_PAGE_BYTES and nbytes >= HUGE_PAGE_BYTES
            if is_wasteful and sys.platform == "linux":
                raw = _small_pages(nbytes + ALIGNMENT_BYTES)
            else:
                raw = np.empty(nbytes + ALIGNMENT_BYTES, np.uint8)
        except (MemoryError, OSError) as error:
            raise out_of_memory(nbytes, "host") from error
        start = -raw.ctypes.data % ALIGNMENT_BYTES
        array = raw[start : start + nbytes].view(dtype).reshape(shape)
        return Buffer(shape, dtype, array.ctypes.data, array)

    def free_bytes(self) -> None:
        """Return None: pages are taken when they are written."""

    def host_view(self, buffer: Buffer) -> npt.NDArray[Any]:
        """Return an array over the buffer's memory."""
        base = buffer.owner
        assert isinstance(base, np.ndarray)
        start = buffer.address - base.ctypes.data
        memory = base.reshape(-1).view(np.uint8)[start : start + buffer.nbytes]
        view: npt.NDArray[Any] = memory.view(buffer.dtype).reshape(buffer.shape)
        return view

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return zeros."""
        return np.zeros(shape, dtype)

    def copy_in(self, array: npt.NDArray[Any], buffer: Buffer) -> None:
        """Copy an array into the buffer."""
        self.host_view(buffer)[...] = array

    def copy_out(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Copy the buffer into an array."""
        array[...] = self.host_view(buffer)

    def copy_positions(
        self, source: Buffer, target: Buffer, count: int, *, source_start: int = 0, target_start: int = 0
    ) -> None:
        """Copy `count` positions of every head."""
        if count:
            from_view, to_view = self.host_view(source), self.host_view(target)
            to_view[:, :, target_start : target_start + count] = from_view[
                :, :, source_start : source_start + count
            ]

    def discard(self, buffer: Buffer, start: int) -> None:
        """Give back the pages that lie wholly behind position `start` of a head."""
        rows, heads, capacity, dim = buffer.shape
        position_bytes = dim * buffer.dtype.itemsize
        for head in range(rows * heads):
            first = buffer.address + (head * capacity + start) * position_bytes
            end = buffer.address + (head + 1) * capacity * position_bytes
            first += -first % mmap.PAGESIZE
            end -= end % mmap.PAGESIZE
            if first < end:
                _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _small_pages(nbytes: int) -> npt.NDArray[np.uint8]:
    """Return new memory without huge pages, which numpy asks for where an array has 4 MiB or more."""
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def out_of_memory(nbytes: int, where: str, *, free: int | None = None) -> OutOfMemoryError:
    """Return the error of a buffer that a device has no memory for; `free` is what is left there, where it is known."""
    left = "" if free is None else f", of which {free / 2**20:.0f} MiB are free"
    return OutOfMemoryError(
        f"not enough memory on {where} for {nbytes / 2**20:.0f} MiB of KV cache{left}: "
        "lower max_context, max_batch or kv_cache_bytes"
    )
