"""Stored tensors as views: floats as they lie in the file, carried types as codes, all others decoded when looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from genai.errors import UnsupportedModelError
from genai.export.checkpoint.gguf.blocks import CARRIED, CarriedType
from genai.export.checkpoint.gguf.reader import StoredTensor
from genai.export.checkpoint.gguf.types import FLOATS, INTEGERS, method_of
from genai.export.checkpoint.rows import CodedRows, DecodedRows, Rows
from genai.quantize import QuantizedMatrix
from genai.quantize.packing import pack_codes

__all__ = ["decoded", "matrix_of", "view_of"]

Array = NDArray[Any]

_DTYPES = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F64": np.dtype("<f8"),
}


def view_of(tensor: StoredTensor) -> Rows:
    """Return a tensor as rows: a vector [columns], or a matrix as `matrix_of` does.

    Raises:
        UnsupportedModelError: It holds no floats.
    """
    matrix = matrix_of(tensor)
    return np.asarray(matrix[:]).reshape(tensor.shape) if len(tensor.shape) == 1 else matrix


def matrix_of(tensor: StoredTensor) -> Rows:
    """Return a tensor with all but its innermost axis as one: [rows, columns].

    Raises:
        UnsupportedModelError: It holds no floats.
    """
    if tensor.type_name in FLOATS:
        floats: Array = tensor.rows.view(_DTYPES[tensor.type_name])
        return floats
    if carried := CARRIED.get(tensor.type_name):
        return CodedRows(_matrix(tensor, carried))
    if tensor.type_name in INTEGERS:
        raise UnsupportedModelError(
            f"{tensor.file}: a tensor of shape {list(tensor.shape)} has type {tensor.type_name}; weights are floats, or "
            "quantized"
        )
    return DecodedRows(_Decoded(tensor), method_of(tensor.type_name))


def decoded(rows: Rows) -> Rows:
    """Return quantized rows as ones that no kernel holds, which are rounded anew."""
    return DecodedRows(rows, rows.matrix.scheme.method) if isinstance(rows, CodedRows) else rows


def _matrix(tensor: StoredTensor, carried: CarriedType) -> QuantizedMatrix:
    return QuantizedMatrix(
        carried.scheme,
        tensor.shape[-1],
        codes=_Codes(tensor, carried),
        scales=_Factors(tensor, carried),
        offsets=None if carried.offsets is None else _Factors(tensor, carried, are_offsets=True),
    )


def _blocks(tensor: StoredTensor, key: slice | tuple[slice, ...]) -> tuple[NDArray[np.uint8], int]:
    """Return the blocks of some rows, uint8 [blocks, block's bytes], and how many rows they are."""
    rows = tensor.rows[key[0] if isinstance(key, tuple) else key]
    return rows.reshape(-1, tensor.block_bytes), len(rows)


@dataclass(frozen=True, slots=True)
class _Codes:
    """The codes of a carried tensor, repacked while they are read."""

    tensor: StoredTensor
    carried: CarriedType

    @property
    def shape(self) -> tuple[int, int, int]:
        scheme = self.carried.scheme
        return (len(self.tensor.rows), scheme.num_blocks(self.tensor.shape[-1]), scheme.block_bytes)

    def __len__(self) -> int:
        return len(self.tensor.rows)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[np.uint8]:
        blocks, num_rows = _blocks(self.tensor, key)
        if not num_rows:
            return np.empty((0, *self.shape[1:]), np.uint8)
        scheme = self.carried.scheme
        codes = self.carried.codes(blocks).reshape(num_rows, self.shape[1], scheme.block_size)
        return pack_codes(codes, bits=scheme.bits)


@dataclass(frozen=True, slots=True)
class _Factors:
    """The scales, or the offsets, of a carried tensor."""

    tensor: StoredTensor
    carried: CarriedType
    are_offsets: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return (len(self.tensor.rows), self.carried.scheme.num_blocks(self.tensor.shape[-1]))

    def __len__(self) -> int:
        return len(self.tensor.rows)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[np.float32]:
        blocks, num_rows = _blocks(self.tensor, key)
        if not num_rows:
            return np.empty((0, *self.shape[1:]), np.float32)
        read = self.carried.offsets if self.are_offsets else self.carried.scales
        assert read is not None
        return read(blocks).reshape(num_rows, self.shape[1])


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A tensor of a type that is not carried, decoded by the gguf package; slices of it are float32."""

    tensor: StoredTensor

    @property
    def shape(self) -> tuple[int, int]:
        return (math.prod(self.tensor.shape[:-1]), self.tensor.shape[-1])

    def __len__(self) -> int:
        return len(self.tensor.rows)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> NDArray[np.float32]:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        rows, *columns = key if isinstance(key, tuple) else (key,)
        stored = np.ascontiguousarray(self.tensor.rows[rows])
        if not len(stored):
            return np.empty((0, self.shape[1]), np.float32)[(slice(None), *columns)]
        values: Array = dequantize(stored, GGMLQuantizationType[self.tensor.type_name])
        return values[(slice(None), *columns)].astype(np.float32, copy=False)
