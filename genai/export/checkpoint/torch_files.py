"""A checkpoint of PyTorch's files (pytorch_model.bin): zip archives of tensors that lie as they are, and a pickle.

The pickle is read as data (`torch_pickle`); the tensors are mapped. Refused are files from before PyTorch 1.6, which are
pickles throughout, and archives that are compressed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from genai.errors import CheckpointError
from genai.export.checkpoint.tensor_files import (
    DTYPES,
    FileNames,
    StoredTensor,
    TensorFiles,
    check_index,
    weight_files,
)
from genai.export.checkpoint.torch_pickle import TorchTensor, read_state_dict

__all__ = ["has_torch_files", "open_torch_files"]

FILES = FileNames("pytorch_model.bin.index.json", "pytorch_model.bin", "pytorch_model*.bin")

_SIGNATURE, _HEADER_BYTES = b"PK\x03\x04", 30
_MAX_PICKLE_BYTES = 32 << 20
_ADVICE = (
    "ask for safetensors, or, if you trust it, load it with transformers and save it again "
    '(AutoModelForCausalLM.from_pretrained("here").save_pretrained("there"))'
)


def has_torch_files(path: Path) -> bool:
    """Whether a folder holds weights in PyTorch's files."""
    return FILES.are_in(path)


def open_torch_files(path: Path, config: Mapping[str, Any]) -> TensorFiles:
    """Read where the tensors of a folder's files are; nothing in them is run.

    Args:
        path: The folder.
        config: The content of its config.json.

    Raises:
        CheckpointError: A file is missing, truncated, malformed, or holds anything but tensors.
    """
    files, index = weight_files(path, FILES)
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        tensors |= _read_file(file)
    check_index(path, index, tensors, index_file=FILES.index)
    return TensorFiles(path, config, tensors)


def _read_file(file: Path) -> dict[str, StoredTensor]:
    with file.open("rb") as stream:
        if stream.read(len(_SIGNATURE)) != _SIGNATURE:
            raise CheckpointError(
                f"{file}: not an archive as PyTorch writes it since version 1.6, but perhaps a pickle, which would be "
                f"run; {_ADVICE}"
            )
        try:
            with zipfile.ZipFile(stream) as archive:
                members = {info.filename: info for info in archive.infolist()}
                pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
                if len(pickles) != 1:
                    raise CheckpointError(
                        f"{file}: not an archive as PyTorch writes it (no data.pkl); {_ADVICE}"
                    )
                return _read_archive(file, stream, members, pickles[0].removesuffix("data.pkl"))
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise CheckpointError(f"{file}: truncated or damaged ({error}); download it again") from error


def _read_archive(
    file: Path, stream: BinaryIO, members: Mapping[str, zipfile.ZipInfo], prefix: str
) -> dict[str, StoredTensor]:
    if f"{prefix}byteorder" in members:
        start, stop = _extent(file, stream, members[f"{prefix}byteorder"])
        stream.seek(start)
        if stream.read(min(stop - start, len(b"little"))) != b"little":
            raise CheckpointError(f"{file}: written on a machine of another byte order; {_ADVICE}")
    start, stop = _extent(file, stream, members[f"{prefix}data.pkl"])
    if stop - start > _MAX_PICKLE_BYTES:
        raise CheckpointError(f"{file}: its pickle has {stop - start} bytes, more than any list of tensors")
    stream.seek(start)
    try:
        found = read_state_dict(stream.read(stop - start))
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}; {_ADVICE}") from error
    extents: dict[str, tuple[int, int]] = {}
    stored = {}
    for name, tensor in found.items():
        key = f"{prefix}data/{tensor.storage.key}"
        if key not in members:
            raise CheckpointError(f'{file}: the tensor "{name}" is missing; download it again')
        if key not in extents:
            extents[key] = _extent(file, stream, members[key])
        stored[name] = _placed(file, name, tensor, extents[key])
    return stored


def _placed(file: Path, name: str, tensor: TorchTensor, extent: tuple[int, int]) -> StoredTensor:
    start, stop = extent
    dtype = tensor.storage.dtype
    itemsize = DTYPES[dtype].itemsize
    if tensor.storage.size * itemsize > stop - start:
        raise CheckpointError(
            f'{file}: the tensor "{name}" needs {tensor.storage.size * itemsize} bytes, of which there are {stop - start}'
        )
    return StoredTensor(file, dtype, tensor.shape, start + tensor.offset * itemsize, tensor.strides)


def _extent(file: Path, stream: BinaryIO, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Return the first byte of a member and the one after its last; it must lie there as it is."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise CheckpointError(
            f"{file}: its {member.filename} is compressed, which PyTorch never does; {_ADVICE}"
        )
    stream.seek(member.header_offset)
    header = stream.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_SIGNATURE):
        raise CheckpointError(f"{file}: damaged where {member.filename} should begin; download it again")
    name_length, extra_length = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
    start = member.header_offset + _HEADER_BYTES + name_length + extra_length
    if start + member.file_size > file.stat().st_size:
        raise CheckpointError(f"{file}: truncated within {member.filename}; download it again")
    return start, start + member.file_size
