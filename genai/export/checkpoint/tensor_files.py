"""Tensors in mapped files: views of their bytes, whatever wrote them.

Nothing is read until somebody looks at the values. It knows where a tensor lies and of which type it is, and nothing
of the formats or of what the tensors mean.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import read_json

__all__ = [
    "DTYPES",
    "FLOAT_DTYPES",
    "FileNames",
    "StoredTensor",
    "TensorFiles",
    "check_index",
    "weight_files",
]

Array = NDArray[Any]

FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
}
"""What numpy calls the types that safetensors names so."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies; whoever makes one has checked that the file is long enough.

    Args:
        file: The file.
        dtype: Its type, by safetensors' name.
        shape: Its shape.
        offset: Byte of the file at which it begins.
        strides: Elements from one index to the next along each axis; `None` is row by row.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...] | None = None


class TensorFiles(Mapping[str, Array]):
    """A checkpoint folder; as a mapping, its tensors of floats by name.

    Args:
        path: The folder.
        config: The content of its config.json.
        tensors: Where its tensors are.
        metadata: What the files say beside tensors; safetensors' `__metadata__`.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        tensors: Mapping[str, StoredTensor],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.config = config
        self.metadata = metadata or {}
        self._tensors = tensors
        self._maps: dict[Path, mmap.mmap] = {}

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name]
        if tensor.dtype not in FLOAT_DTYPES:
            raise CheckpointError(
                f'{tensor.file}: the tensor "{name}" has type {tensor.dtype}; expected one of '
                f"{', '.join(FLOAT_DTYPES)}, since config.json does not say that it is quantized (export the checkpoint "
                "that it was quantized from)"
            )
        return self._view(tensor)

    def raw(self, name: str) -> Array:
        """Return a tensor of whatever type as it is stored.

        Raises:
            CheckpointError: numpy has no such type.
        """
        tensor = self._tensors[name]
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f'{tensor.file}: the tensor "{name}" has type {tensor.dtype}, which is not supported'
            )
        return self._view(tensor)

    def dtype_of(self, name: str) -> str:
        """Return a tensor's type, by safetensors' name."""
        return self._tensors[name].dtype

    def _view(self, tensor: StoredTensor) -> Array:
        dtype = DTYPES[tensor.dtype]
        if not math.prod(tensor.shape):
            return np.empty(tensor.shape, dtype)
        if tensor.file not in self._maps:
            with tensor.file.open("rb") as file:
                self._maps[tensor.file] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        strides = None if tensor.strides is None else tuple(dtype.itemsize * n for n in tensor.strides)
        return np.ndarray(tensor.shape, dtype, self._maps[tensor.file], tensor.offset, strides)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def file_of(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._tensors[name].file


@dataclass(frozen=True, slots=True)
class FileNames:
    """What the files of a format are called.

    Args:
        index: The file that names the file of every tensor, where there are several.
        single: The file of a checkpoint that has one.
        pattern: All of them.
    """

    index: str
    single: str
    pattern: str

    def are_in(self, path: Path) -> bool:
        """Whether a folder holds one of them, or the index of some."""
        return (path / self.index).is_file() or any(path.glob(self.pattern))


def weight_files(path: Path, names: FileNames) -> tuple[list[Path], Mapping[str, str]]:
    """Return a folder's files, those that the index names or all, and the file name of every tensor in the index.

    Raises:
        CheckpointError: The index is malformed, or a file is missing.
    """
    index = read_json(path / names.index).get("weight_map") if (path / names.index).is_file() else {}
    if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise CheckpointError(
            f'{path / names.index}: "weight_map" must name the file of every tensor; download it again'
        )
    named = sorted(set(index.values()))
    missing = [name for name in named if Path(name).name != name or not (path / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{path}: {', '.join(missing)}, named in {names.index}, is missing; download the checkpoint again"
        )
    if named:
        return [path / name for name in named], index
    single = path / names.single
    return [single] if single.is_file() else sorted(path.glob(names.pattern)), index


def check_index(
    path: Path, index: Mapping[str, str], tensors: Mapping[str, StoredTensor], *, index_file: str
) -> None:
    """See that every tensor is in the file in which an index places it.

    Raises:
        CheckpointError: One is not.
    """
    for name, file_name in index.items():
        if name not in tensors or tensors[name].file.name != file_name:
            raise CheckpointError(
                f'{path / file_name}: the tensor "{name}", which {index_file} places there, is missing; '
                "download the checkpoint again"
            )
