"""What a slot holds as a file, so that a long prompt need not be computed again by another process.

A line of JSON (what it is of, tokens, shapes and types of the tensors), then the tensors' bytes one behind the other. A file
appears when it is whole, and says which model it is of: keys and values of another one would be taken for what they are not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ml_dtypes  # noqa: F401 - names bfloat16 and its like for numpy
import numpy as np
import numpy.typing as npt

from genai.cache.shape import CacheShape
from genai.cache.slot import PrefixKey
from genai.errors import CacheFileError

__all__ = ["CachedPrefix"]

VERSION = 1
MAX_HEADER_BYTES = 1 << 26
"""Of the line of JSON, which is mostly tokens: ten million of them."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrefix:
    """The content of a slot on the host.

    Args:
        token_ids: Its tokens.
        key: How they were computed.
        tensors: For each tensor of the cache, [1, outer, positions, inner]; a state has one position.
    """

    token_ids: tuple[int, ...]
    key: PrefixKey
    tensors: Sequence[npt.NDArray[Any]]

    def save(self, path: Path, *, model: str) -> None:
        """Write it to a file; `model` is the fingerprint of what computed it.

        Raises:
            OSError: The file cannot be written; what was there before is as it was.
        """
        header = {
            "format": "genai-cache",
            "version": VERSION,
            "model": model,
            "token_ids": self.token_ids,
            "position_table": self.key.position_table,
            "adapter": self.key.adapter,
            "tensors": [[list(tensor.shape), tensor.dtype.name] for tensor in self.tensors],
        }
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                file.write(json.dumps(header).encode() + b"\n")
                for tensor in self.tensors:
                    file.write(np.ascontiguousarray(tensor).view(np.uint8).data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, *, model: str, shape: CacheShape) -> Self:
        """Read a file.

        Args:
            path: The file.
            model: The fingerprint of what is going to use it.
            shape: That one's cache.

        Raises:
            CacheFileError: It is no such file, is damaged, or is of another model or another form of it.
            OSError: It cannot be read.
        """
        with path.open("rb") as file:
            header = _read_header(path, file.readline(MAX_HEADER_BYTES), model)
            token_ids = header["token_ids"]
            if not 1 <= len(token_ids) <= shape.max_capacity:
                raise CacheFileError(
                    f"{path}: it has {len(token_ids)} tokens, but the context holds {shape.max_capacity}"
                )
            wanted = [
                [list(tensor.shape(1, len(token_ids))), np.dtype(tensor.dtype).name]
                for tensor in shape.tensors
            ]
            if header["tensors"] != wanted:  # of whatever a damaged header has there
                raise CacheFileError(
                    f"{path}: its keys and values have another form than this model's as it is loaded here; save it again"
                )
            tensors = [
                _read_tensor(file, tensor.shape(1, len(token_ids)), tensor.dtype) for tensor in shape.tensors
            ]
            if any(tensor is None for tensor in tensors) or file.read(1):
                raise CacheFileError(f"{path}: it has not as many bytes as it should have; save it again")
        key = PrefixKey(header["position_table"], header["adapter"])
        return cls(tuple(token_ids), key, [tensor for tensor in tensors if tensor is not None])


def _read_header(path: Path, line: bytes, model: str) -> dict[str, Any]:
    try:
        header = json.loads(line)
        is_ours = header["format"] == "genai-cache"
        is_whole = all(type(token_id) is int for token_id in header["token_ids"])
        is_whole &= {"model", "version", "position_table", "adapter", "tensors"} <= header.keys()
    except (ValueError, TypeError, KeyError):
        is_ours = is_whole = False
    if not is_ours or not is_whole:
        raise CacheFileError(f"{path}: this is no file of `save_cache`, or a damaged one")
    if header["version"] != VERSION:
        raise CacheFileError(
            f"{path}: it is of version {header['version']}, this genai reads {VERSION}; save it again"
        )
    if header["model"] != model:
        raise CacheFileError(f"{path}: it was saved by another model; load that one, or save it again")
    return dict(header)


def _read_tensor(file: Any, dims: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
    tensor = np.empty(dims, dtype)
    return tensor if file.readinto(tensor.reshape(-1).view(np.uint8)) == tensor.nbytes else None
