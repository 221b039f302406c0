"""What the stand-in for CUDA's runtime has counted, read from the library that ONNX Runtime has loaded."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from functools import cache

__all__ = ["Counts", "counted", "device_memory", "live_bytes"]

Counts = dict[str, int]
"""By the names of cuda_runtime/stand_in.h."""


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """Count what happens within the block; the counts are there after it, those of nothing left out."""
    counts: Counts = {}
    _library().stand_in_reset()
    yield counts
    counts |= {name: value for name, value in _read().items() if value and name != "live_bytes"}


def live_bytes() -> int:
    """Return how much of the device's memory is allocated."""
    return _read()["live_bytes"]


@contextlib.contextmanager
def device_memory(num_bytes: int) -> Iterator[None]:
    """Let the device have this much memory within the block, what is allocated included."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _library().cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    _library().stand_in_set_memory(ctypes.c_size_t(num_bytes))
    try:
        yield
    finally:
        _library().stand_in_set_memory(total)


def _read() -> Counts:
    library = _library()
    names = library.stand_in_names().decode().split()
    values = (ctypes.c_int64 * len(names))()
    library.stand_in_read(values)
    return dict(zip(names, values, strict=True))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libcudart.so.13")
    library.stand_in_names.restype = ctypes.c_char_p
    return library
