"""The container: metadata and a table of tensors, read from a mapped file of which nothing is believed.

Every count, length, type and offset is checked against the bytes that are left before anything is made of it, so that
what a file can take in memory is a small multiple of its own size. It knows nothing of what the values mean.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint.gguf.types import TYPES
from genai.folder.gguf_files import gguf_parts

__all__ = ["GgufFile", "StoredTensor", "read_gguf"]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1"}
_NUMBERS |= {10: "<u8", 11: "<i8", 12: "<f8"}
_MIN_BYTES = {_STRING: 8, _ARRAY: 12}
"""The least that a value of no fixed size takes: its length, or its elements' type and their count."""

_MAX_KEY_BYTES = 65535
_MAX_NESTING = 2
_MAX_AXES = 4
_MAX_ALIGNMENT = 1 << 20
_MIN_PAIR_BYTES, _MIN_TENSOR_BYTES = 13, 24


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a GGUF file.

    Args:
        file: The file that holds it.
        type_name: Its type ("Q4_K").
        shape: Its shape, the innermost axis last.
        rows: Its bytes, uint8 [rows, bytes of a row], where a row is the innermost axis; a view of the mapped file.
        block_bytes: Bytes of a block of its type.
    """

    file: Path
    type_name: str
    shape: tuple[int, ...]
    rows: NDArray[np.uint8]
    block_bytes: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A GGUF file, or the parts of one.

    Args:
        path: The file, the first of several parts.
        metadata: Its values; numbers, strings, and arrays as lists of strings or numpy arrays.
        tensors: Its tensors by name.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def read_gguf(path: Path) -> GgufFile:
    """Read the header of a GGUF file, and of the other parts of it that lie beside it.

    Raises:
        CheckpointError: A file is truncated or malformed, or a part is missing.
        UnsupportedModelError: It is of another version, big-endian, or has a type of tensors that is not known.
    """
    files = _parts_of(path)
    first, *others = [_read_file(file) for file in files]
    tensors = dict(first.tensors)
    for other in others:
        if twice := next((name for name in other.tensors if name in tensors), None):
            raise CheckpointError(f'{other.path}: the tensor "{twice}" is in an earlier part too')
        tensors |= other.tensors
    wanted = first.metadata.get("split.count", 0)
    if wanted > 1 and wanted != len(files):
        raise CheckpointError(
            f"{path} is one of {wanted} parts; keep their names (model-00001-of-{wanted:05}.gguf) and their folder"
        )
    return GgufFile(first.path, first.metadata, tensors)


def _parts_of(path: Path) -> list[Path]:
    files = [path.with_name(name) for name in gguf_parts(path.name)]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None and len(files) > 1:
        raise CheckpointError(
            f"{missing} is missing: the file comes in {len(files)} parts, which must lie in one folder"
        )
    return files


def _read_file(path: Path) -> GgufFile:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise CheckpointError(f"{path}: the file is empty; download it again")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    header = _Header(path, data)
    try:
        return header.read()
    except struct.error as error:
        raise header.broken("it ends within its header") from error


@dataclass(slots=True)
class _Header:
    """A walk through the bytes of a header."""

    path: Path
    data: mmap.mmap
    position: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    def read(self) -> GgufFile:
        self._check_beginning()
        num_tensors, num_pairs = self._take("<Q"), self._take("<Q")
        self._check_count(num_pairs, _MIN_PAIR_BYTES, "metadata values")
        for _ in range(num_pairs):
            key = self._name("a key of the metadata")
            if key in self.metadata:
                raise self.broken(f'the key "{key}" is there twice')
            self.metadata[key] = self._value(self._take("<I"), key)
        self._check_count(num_tensors, _MIN_TENSOR_BYTES, "tensors")
        entries = [self._entry() for _ in range(num_tensors)]
        tensors = self._tensors(entries, self._alignment())
        return GgufFile(self.path, self.metadata, tensors)

    def broken(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: not a whole GGUF file: {what}; download it again")

    def _check_beginning(self) -> None:
        if self.data[:4] != MAGIC:
            raise self.broken(f"it begins with {self.data[:4]!r}, not with {MAGIC!r}")
        self.position = 4
        version = self._take("<I")
        if version in VERSIONS:
            return
        if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
            raise UnsupportedModelError(
                f"{self.path}: a big-endian GGUF file; genai reads little-endian ones: convert it "
                "(gguf-convert-endian of the gguf package), or take the usual file"
            )
        raise UnsupportedModelError(
            f"{self.path}: version {version} of GGUF; genai reads {' and '.join(map(str, VERSIONS))}: take a newer file, "
            "or a newer genai if there is one"
        )

    def _take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.position)
        self.position += struct.calcsize(form)
        return value

    def _bytes(self, length: int, what: str) -> bytes:
        if length > len(self.data) - self.position:
            raise self.broken(f"{what} has {length} bytes, and {len(self.data) - self.position} are left")
        self.position += length
        return self.data[self.position - length : self.position]

    def _check_count(self, count: int, each: int, what: str) -> None:
        left = len(self.data) - self.position
        if count * each > left:
            raise self.broken(f"it announces {count} {what}, and {left} bytes are left")

    def _name(self, what: str) -> str:
        length = self._take("<Q")
        if length > _MAX_KEY_BYTES:
            raise self.broken(f"{what} has {length} bytes")
        try:
            return self._bytes(length, what).decode()
        except UnicodeDecodeError as error:
            raise self.broken(f"{what} is not UTF-8") from error

    def _value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind == _STRING:
            # llama.cpp's vocabularies may hold a token that is part of a character.
            return self._bytes(self._take("<Q"), f'"{key}"').decode(errors="replace")
        if kind == _ARRAY:
            return self._array(key, depth)
        if kind not in _NUMBERS:
            raise self.broken(f'"{key}" has type {kind}, which GGUF does not have')
        value = self._take(_FORMATS[kind])
        if kind == _BOOL:
            return bool(value)
        return float(str(np.float32(value))) if kind == 6 else value  # as people write it: 1e-05

    def _array(self, key: str, depth: int) -> Any:
        kind, count = self._take("<I"), self._take("<Q")
        if depth >= _MAX_NESTING:
            raise self.broken(f'"{key}" has arrays in arrays in arrays')
        if kind in _NUMBERS:
            dtype = np.dtype(_NUMBERS[kind])
            self._check_count(count, dtype.itemsize, f'values of "{key}"')
            data = self._bytes(count * dtype.itemsize, f'"{key}"')
            values = np.frombuffer(data, dtype)
            return values.astype(bool) if kind == _BOOL else values
        if kind not in _MIN_BYTES:
            raise self.broken(f'"{key}" has elements of type {kind}, which GGUF does not have')
        self._check_count(count, _MIN_BYTES[kind], f'values of "{key}"')
        return [self._value(kind, key, depth + 1) for _ in range(count)]

    def _alignment(self) -> int:
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT or alignment % 8:
            raise self.broken(f"its alignment is {alignment!r}")
        return alignment

    def _entry(self) -> tuple[str, tuple[int, ...], str, int]:
        """Read a tensor's name, shape, type, and offset within the data."""
        name = self._name("a tensor's name")
        num_axes = self._take("<I")
        if not 0 < num_axes <= _MAX_AXES:
            raise self.broken(f'the tensor "{name}" has {num_axes} axes')
        shape = tuple(self._take("<Q") for _ in range(num_axes))[::-1]
        kind, offset = self._take("<I"), self._take("<Q")
        if kind not in TYPES:
            raise UnsupportedModelError(
                f'{self.path}: the tensor "{name}" has type {kind}, which genai does not know; take another file of the '
                "model (Q4_K_M, Q6_K, Q8_0, F16), or a newer genai if there is one"
            )
        return name, shape, kind, offset

    def _tensors(self, entries: list[Any], alignment: int) -> dict[str, StoredTensor]:
        """Place the tensors: their data begins after the header, and none may reach into another."""
        start = -(-self.position // alignment) * alignment
        end, tensors = 0, dict[str, StoredTensor]()
        for name, shape, kind, offset in sorted(entries, key=lambda entry: int(entry[3])):
            type_name, block, block_bytes = TYPES[kind]
            if name in tensors:
                raise self.broken(f'the tensor "{name}" is there twice')
            if not all(shape) or shape[-1] % block:
                raise self.broken(f'the tensor "{name}" of type {type_name} has shape {list(shape)}')
            num_rows, row_bytes = math.prod(shape[:-1]), shape[-1] // block * block_bytes
            if offset % alignment or offset < end:
                raise self.broken(
                    f'the tensor "{name}" begins at byte {offset} of the data, within another one'
                )
            end = offset + num_rows * row_bytes
            if start + end > len(self.data):
                raise self.broken(
                    f'the tensor "{name}" ends at byte {start + end}, the file at {len(self.data)}'
                )
            rows = np.ndarray((num_rows, row_bytes), np.uint8, buffer=self.data, offset=start + offset)
            tensors[name] = StoredTensor(self.path, type_name, shape, rows, block_bytes)
        return tensors


_FORMATS = {kind: f"<{np.dtype(name).char}" for kind, name in _NUMBERS.items()} | {10: "<Q", 11: "<q"}
