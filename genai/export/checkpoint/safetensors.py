"""A checkpoint of safetensors: memory-mapped files whose headers are checked.

Tensors come as numpy views of the mapped files: nothing is read until somebody looks at the values. It knows the
format and nothing of what the tensors mean.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import read_config, read_json

__all__ = ["SafetensorsCheckpoint"]

Array = NDArray[Any]

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"

_FLOAT_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
# Bytes per element of what may lie beside the weights (masks, counters, quantized data); only their extent is checked.
_OTHER_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2}
_OTHER_SIZES |= {"I32": 4, "U32": 4, "I64": 8, "U64": 8}
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class _Tensor:
    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


class SafetensorsCheckpoint(Mapping[str, Array]):
    """A checkpoint folder; as a mapping, its tensors by name."""

    def __init__(self, path: Path, config: Mapping[str, Any], tensors: Mapping[str, _Tensor]) -> None:
        self.path = path
        self.config = config
        self._tensors = tensors
        self._maps: dict[Path, mmap.mmap] = {}

    @classmethod
    def open(cls, path: Path | str, *, config: Mapping[str, Any] | None = None) -> Self:
        """Read config.json and the headers of the safetensors files.

        Args:
            path: The folder.
            config: The content of its config.json, where that was read already.

        Raises:
            CheckpointError: A file is missing, truncated or malformed.
        """
        path = Path(path)
        config = read_config(path) if config is None else config
        tensors: dict[str, _Tensor] = {}
        index = _read_index(path / INDEX_FILE) if (path / INDEX_FILE).is_file() else None
        for file in _weight_files(path, index):
            tensors |= _read_header(file)
        for name, file_name in (index or {}).items():
            if name not in tensors or tensors[name].file.name != file_name:
                raise CheckpointError(
                    f'{path / file_name}: the tensor "{name}", which {INDEX_FILE} places there, is missing; '
                    "download the checkpoint again"
                )
        return cls(path, config, tensors)

    def __getitem__(self, name: str) -> Array:
        tensor = self._tensors[name]
        dtype = _FLOAT_DTYPES.get(tensor.dtype)
        if dtype is None:
            raise CheckpointError(
                f'{tensor.file}: the tensor "{name}" has type {tensor.dtype}; expected one of '
                f"{', '.join(_FLOAT_DTYPES)} (quantized checkpoints cannot be exported; use the original one)"
            )
        return self._view(tensor, dtype)

    def raw(self, name: str, *, dtype: str) -> Array:
        """Return a tensor of one byte per element as bytes: uint8 of its shape.

        Args:
            name: The tensor.
            dtype: The type that it must have, by safetensors' name ("U8", "F8_E4M3").

        Raises:
            CheckpointError: It has another type.
        """
        tensor = self._tensors[name]
        assert _OTHER_SIZES[dtype] == 1, dtype
        if tensor.dtype != dtype:
            raise CheckpointError(
                f'{tensor.file}: the tensor "{name}" has type {tensor.dtype}; expected {dtype} (export the checkpoint '
                "that it was quantized from)"
            )
        return self._view(tensor, np.dtype(np.uint8))

    def _view(self, tensor: _Tensor, dtype: np.dtype[Any]) -> Array:
        if not math.prod(tensor.shape):
            return np.empty(tensor.shape, dtype)
        if tensor.file not in self._maps:
            with tensor.file.open("rb") as file:
                self._maps[tensor.file] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.ndarray(tensor.shape, dtype, buffer=self._maps[tensor.file], offset=tensor.offset)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def file_of(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._tensors[name].file


def _read_index(path: Path) -> dict[str, str]:
    """Return the file name of every tensor."""
    index = read_json(path).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise CheckpointError(f'{path}: "weight_map" must name the file of every tensor; download it again')
    return index


def _weight_files(path: Path, index: Mapping[str, str] | None) -> list[Path]:
    if index is not None:
        files = [path / name for name in sorted(set(index.values()))]
    elif (path / SINGLE_FILE).is_file():
        files = [path / SINGLE_FILE]
    else:
        files = sorted(path.glob("*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{path}: {', '.join(missing)}, named in {INDEX_FILE}, is missing; download the checkpoint again"
        )
    if not files:
        other = sorted(file.name for pattern in ("*.bin", "*.pth") for file in path.glob(pattern))
        found = f"; found only {', '.join(other[:3])}, which cannot be read safely" if other else ""
        raise CheckpointError(f"{path}: no safetensors file{found}")
    return files


def _read_header(file: Path) -> dict[str, _Tensor]:
    """Read and check a safetensors header: 8 bytes of length, JSON, then the tensors back to back."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise CheckpointError(
                f"{file}: truncated or not a safetensors file (header of {length} bytes, file of {size} bytes); "
                "download it again"
            )
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise CheckpointError(f"{file}: its safetensors header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{file}: its safetensors header is not a JSON object")
    header.pop("__metadata__", None)
    return {
        name: _read_entry(file, name, entry, start=8 + length, size=size) for name, entry in header.items()
    }


def _read_entry(file: Path, name: str, entry: Any, *, start: int, size: int) -> _Tensor:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        first, last = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{file}: the header entry of "{name}" is malformed ({error})') from error
    itemsize = _FLOAT_DTYPES[dtype].itemsize if dtype in _FLOAT_DTYPES else _OTHER_SIZES.get(dtype)
    if start + last > size:
        raise CheckpointError(
            f'{file}: truncated: the tensor "{name}" ends at byte {start + last}, the file at {size}; '
            "download it again"
        )
    if first < 0 or any(n < 0 for n in shape) or (itemsize and last - first != math.prod(shape) * itemsize):
        raise CheckpointError(
            f'{file}: the tensor "{name}" of type {dtype} and shape {list(shape)} cannot lie in bytes {first} to {last}'
        )
    return _Tensor(file, dtype, shape, start + first)
