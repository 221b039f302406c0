"""A checkpoint of safetensors: files whose headers are checked (https://github.com/huggingface/safetensors)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.errors import CheckpointError
from genai.export.checkpoint.tensor_files import (
    DTYPES,
    FileNames,
    StoredTensor,
    TensorFiles,
    check_index,
    weight_files,
)

__all__ = ["has_safetensors", "open_safetensors"]

FILES = FileNames("model.safetensors.index.json", "model.safetensors", "*.safetensors")

_MAX_HEADER_BYTES = 100_000_000


def has_safetensors(path: Path) -> bool:
    """Whether a folder holds a file of safetensors, or the index of some."""
    return FILES.are_in(path)


def open_safetensors(path: Path, config: Mapping[str, Any]) -> TensorFiles:
    """Read the headers of a folder's files, those that the index names or all.

    Args:
        path: The folder.
        config: The content of its config.json.

    Raises:
        CheckpointError: A file is missing, truncated or malformed.
    """
    files, index = weight_files(path, FILES)
    tensors: dict[str, StoredTensor] = {}
    metadata: dict[str, str] = {}
    for file in files:
        header, start = _read_header(file)
        described = header.pop("__metadata__", None)
        if isinstance(described, dict):
            metadata |= {key: value for key, value in described.items() if isinstance(value, str)}
        size = file.stat().st_size
        tensors |= {
            name: _read_entry(file, name, entry, start=start, size=size) for name, entry in header.items()
        }
    check_index(path, index, tensors, index_file=FILES.index)
    return TensorFiles(path, config, tensors, metadata)


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Return a header and where the tensors begin: 8 bytes of length, JSON, then the tensors back to back."""
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
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file}: its safetensors header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{file}: its safetensors header is not a JSON object")
    return header, 8 + length


def _read_entry(file: Path, name: str, entry: Any, *, start: int, size: int) -> StoredTensor:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        first, last = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f'{file}: the header entry of "{name}" is malformed ({error})') from error
    if start + last > size:
        raise CheckpointError(
            f'{file}: truncated: the tensor "{name}" ends at byte {start + last}, the file at {size}; '
            "download it again"
        )
    itemsize = DTYPES[dtype].itemsize if dtype in DTYPES else None
    if first < 0 or any(n < 0 for n in shape) or (itemsize and last - first != math.prod(shape) * itemsize):
        raise CheckpointError(
            f'{file}: the tensor "{name}" of type {dtype} and shape {list(shape)} cannot lie in bytes {first} to {last}'
        )
    return StoredTensor(file, dtype, shape, start + first)
