"""Memory of an accelerator that is addressed by plain pointers (CUDA, ROCm), behind the seam `genai.cache.Device`."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.cache import Buffer
from genai.errors import GenerationError
from genai.runtime.device_views import view_bytes
from genai.runtime.devices import out_of_memory
from genai.runtime.ort import RUN_ERRORS, ort_state
from genai.runtime.recorded_runs import DEVICE_GATE

__all__ = ["AddressedDevice", "free_device_bytes"]

_HOST_ACCESSIBLE = 5
"""ONNX Runtime's number of the kind of memory that is the host's and that a device can read."""

_CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "cudart64_13.dll", "cudart64_12.dll")


class AddressedDevice:
    """Memory that a session's allocator gives, in exactly the sizes that are asked for.

    Every copy is one call of ONNX Runtime between views of memory, about 1 µs of the host's time, and complete when it
    returns. A run may have been launched and not be finished: whatever touches the memory waits for it first.

    Args:
        name: What ONNX Runtime calls the kind of device.
        index: Which of them.
        session: The session that will run on it.
    """

    can_discard = False

    def __init__(self, name: str, index: int, session: Any) -> None:
        self.name = name
        self.index = index
        self._session = session
        # A view is an address and a size, so that one which was made once is right for ever.
        self._view = functools.lru_cache(maxsize=256)(functools.partial(view_bytes, name, index))
        self._host_view = functools.lru_cache(maxsize=256)(functools.partial(view_bytes, "cpu", 0))
        self._pinned: dict[int, Any] = {}
        self._unfinished: Any = None

    def finish(self) -> None:
        """Wait for the run that was launched, if one was.

        Raises:
            GenerationError: It failed.
        """
        binding, self._unfinished = self._unfinished, None
        if binding is None:
            return
        try:
            with DEVICE_GATE:
                binding.synchronize_outputs()
        except RUN_ERRORS as error:
            raise self._failure(error) from error

    def launched(self, binding: Any) -> None:
        """Note that a run of ONNX Runtime's binding has been launched and not waited for."""
        self._unfinished = binding

    def allocate(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Buffer:
        """Return new device memory."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        self.finish()
        try:
            with DEVICE_GATE:
                value = self._session.create_ortvalue_from_shape_and_type(
                    [nbytes], np.uint8, self.name, self.index
                )
        except RUN_ERRORS as error:
            raise out_of_memory(nbytes, f"{self.name}:{self.index}", free=self.free_bytes()) from error
        return Buffer(shape, dtype, value.data_ptr(), value)

    def free_bytes(self) -> int | None:
        """Return how much memory of the device is free now."""
        return free_device_bytes(self.name, self.index)

    def host_view(self, buffer: Buffer) -> None:
        """Return None: the host cannot reach this memory."""
        del buffer

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return zeros in pinned memory, which the device reads by itself: no copy waits for what runs before it."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        place = ort_state.OrtDevice(ort_state.OrtDevice.cuda(), _HOST_ACCESSIBLE, self.index)
        try:  # the session's own wrapper makes memory of the device itself, and no other
            with DEVICE_GATE:
                value = self._session._sess.create_ortvalue_from_shape_and_type([nbytes], np.uint8, place)
        except RUN_ERRORS:
            return np.zeros(shape, dtype)
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(value.data_ptr()))
        array: npt.NDArray[Any] = memory.view(dtype).reshape(shape)
        array[...] = 0
        self._pinned[value.data_ptr()] = value
        return array

    def copy_in(self, array: npt.NDArray[Any], buffer: Buffer) -> None:
        """Copy an array into the buffer."""
        array = np.ascontiguousarray(array, buffer.dtype)
        pinned = self._pinned.get(_address_of(array))
        source = array.reshape(-1).view(np.uint8) if pinned is None else pinned
        self._move(source, self._view(buffer.address, buffer.nbytes))

    def copy_out(self, buffer: Buffer, array: npt.NDArray[Any]) -> None:
        """Copy the buffer into a contiguous array."""
        assert array.flags.c_contiguous
        assert array.nbytes == buffer.nbytes
        target = self._host_view(_address_of(array), array.nbytes)
        self._move(self._view(buffer.address, buffer.nbytes), target)

    def copy_positions(
        self, source: Buffer, target: Buffer, count: int, *, source_start: int = 0, target_start: int = 0
    ) -> None:
        """Copy `count` positions: all heads at once where they lie alike and most of a row is copied, else head by head."""
        if not count:
            return
        rows, heads, capacity, dim = source.shape
        position_bytes = dim * source.dtype.itemsize
        if source.shape == target.shape and source_start == target_start == 0 and 2 * count >= capacity:
            nbytes = ((rows * heads - 1) * capacity + count) * position_bytes
            self._copy(source.address, target.address, nbytes)
            return
        for head in range(rows * heads):
            self._copy(
                source.address + (head * capacity + source_start) * position_bytes,
                target.address + (head * target.shape[2] + target_start) * position_bytes,
                count * position_bytes,
            )

    def discard(self, buffer: Buffer, start: int) -> None:
        """Do nothing: ONNX Runtime frees a buffer as a whole."""
        del buffer, start

    def _copy(self, source: int, target: int, nbytes: int) -> None:
        to_view, from_view = (view_bytes(self.name, self.index, each, nbytes) for each in (target, source))
        self._move(from_view, to_view)

    def _move(self, source: Any, target: Any) -> None:
        self.finish()
        try:
            with DEVICE_GATE:
                target.update_inplace(source)
        except RUN_ERRORS as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> GenerationError:
        return GenerationError(f"{self.name}:{self.index} failed: {error}")


def _address_of(array: npt.NDArray[Any]) -> int:
    """Return where an array begins; `array.ctypes` takes twice as long to tell."""
    address: int = array.__array_interface__["data"][0]
    return address


def free_device_bytes(name: str, index: int) -> int | None:
    """Return how much memory of a device is free now; `None` where nothing here can tell."""
    runtime = _cuda_runtime() if name == "cuda" else None
    if runtime is None:
        return None
    free, total, before = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_int()
    runtime.cudaGetDevice(ctypes.byref(before))
    runtime.cudaSetDevice(index)
    failed = runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    runtime.cudaSetDevice(before)
    return None if failed else free.value


@functools.cache
def _cuda_runtime() -> ctypes.CDLL | None:
    """Return the CUDA runtime that ONNX Runtime has loaded."""
    for name in _CUDA_RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
