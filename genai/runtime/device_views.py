"""Views of memory by address, as ONNX Runtime's own values: what its Python package copies between.

A view is made through DLPack (https://dmlc.github.io/dlpack/latest/c_api.html), whose structure for it is allocated where
ONNX Runtime can free it without Python.
"""

from __future__ import annotations

import ctypes
from typing import Any

from genai.runtime.ort import onnxruntime

__all__ = ["view_bytes"]

_KINDS = {"cpu": 1, "cuda": 2}
"""DLPack's numbers of kinds of devices, by ONNX Runtime's names of them."""


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _ManagedTensor(ctypes.Structure):
    """DLManagedTensor, with the one axis of its shape behind it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("num_axes", ctypes.c_int32),
        ("type", _Type),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("size", ctypes.c_int64),
    )


_UINT8 = _Type(1, 8, 1)

_allocate = ctypes.pythonapi.PyMem_RawMalloc
_allocate.restype, _allocate.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
_free = ctypes.cast(ctypes.pythonapi.PyMem_RawFree, ctypes.c_void_p).value
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


def view_bytes(device: str, index: int, address: int, num_bytes: int) -> Any:
    """Return memory as ONNX Runtime's value of bytes, uint8 [num_bytes]; who asks keeps the memory alive.

    Args:
        device: The kind of device, as ONNX Runtime calls it.
        index: Which of them.
        address: Where the memory begins.
        num_bytes: Its size.
    """
    place = _allocate(ctypes.sizeof(_ManagedTensor))
    tensor = _ManagedTensor.from_address(place)
    tensor.data, tensor.byte_offset, tensor.size = address, 0, num_bytes
    tensor.device, tensor.type = _Device(_KINDS[device], index), _UINT8
    tensor.num_axes, tensor.shape, tensor.strides = 1, place + _ManagedTensor.size.offset, None
    tensor.context, tensor.deleter = None, _free
    value = onnxruntime.OrtValue.from_dlpack(_new_capsule(place, b"dltensor", None))
    return value._get_c_value()  # of which copies are made regardless of sessions
