"""Writing a graph: external data streamed tensor by tensor to offsets that are known ahead, then the protobuf."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnx_ir as ir

from genai.errors import CheckpointError, ExportError
from genai.export.build.tensors import LazyTensor

__all__ = ["DATA_FILE", "MODEL_FILE", "ExportProgress", "WritableGraph", "write_graph"]

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

# Large tensors begin on a page (64 KiB is the granularity of Windows), so that they can be mapped one by one.
LARGE_BYTES, LARGE_ALIGNMENT, SMALL_ALIGNMENT = 1 << 20, 1 << 16, 64
RESERVE_BYTES = 64 << 20  # for the protobuf, tokenizer files and the file system's own needs


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export is.

    Args:
        num_tensors_done: Tensors that are written.
        num_tensors: Tensors in all.
        bytes_done: Bytes that are written.
        bytes_total: Bytes in all.
        name: The tensor that is being written.
    """

    num_tensors_done: int
    num_tensors: int
    bytes_done: int
    bytes_total: int
    name: str


class WritableGraph(Protocol):
    """A finished graph whose large tensors are computed while they are written."""

    @property
    def nodes(self) -> Iterable[ir.Node]:
        """Its nodes."""
        ...

    @property
    def initializers(self) -> Mapping[str, ir.Value]:
        """The large tensors' values in the graph, by name."""
        ...

    @property
    def tensors(self) -> Mapping[str, LazyTensor]:
        """What they hold, by name, in the order of writing."""
        ...

    @property
    def storage(self) -> Mapping[str, str]:
        """The name under which each is stored: its own, or that of an earlier one with the same bytes."""
        ...

    def model(self, *, producer: str, version: str) -> ir.Model:
        """Return the model; the large tensors get their `const_value` when they are written."""
        ...


@dataclass(frozen=True, slots=True)
class _Placement:
    name: str
    tensor: LazyTensor
    offset: int


def write_graph(
    g: WritableGraph,
    folder: Path,
    *,
    producer: str,
    version: str,
    progress: Callable[[ExportProgress], None] | None = None,
) -> dict[str, str]:
    """Write model.onnx and model.onnx.data into a folder and return their sha256 by file name.

    Raises:
        ExportError: The disk has no room.
        CheckpointError: The precision cannot hold a weight.
    """
    placements = _lay_out(g)
    total = max((p.offset + p.tensor.num_bytes for p in placements.values()), default=0)
    _check_room(folder, total)
    try:
        digests = {DATA_FILE: _write_data(folder / DATA_FILE, list(placements.values()), total, progress)}
        for name, value in g.initializers.items():
            place, tensor = placements[g.storage[name]], g.tensors[name]
            value.const_value = ir.ExternalTensor(
                DATA_FILE,
                place.offset,
                tensor.num_bytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape),
                name=name,
                base_dir=folder,
            )
        content = ir.to_proto(g.model(producer=producer, version=version)).SerializeToString(
            deterministic=True
        )
        (folder / MODEL_FILE).write_bytes(content)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(folder, total, shutil.disk_usage(folder).free) from error
        raise
    return digests | {MODEL_FILE: hashlib.sha256(content).hexdigest()}


def _lay_out(g: WritableGraph) -> Mapping[str, _Placement]:
    """Give every stored tensor its offset, in the order of the graph."""
    placements, end = {}, 0
    for name, tensor in g.tensors.items():
        if g.storage[name] == name:
            alignment = LARGE_ALIGNMENT if tensor.num_bytes >= LARGE_BYTES else SMALL_ALIGNMENT
            offset = -(-end // alignment) * alignment
            placements[name] = _Placement(name, tensor, offset)
            end = offset + tensor.num_bytes
    return placements


def _write_data(
    path: Path,
    placements: list[_Placement],
    total: int,
    progress: Callable[[ExportProgress], None] | None,
) -> str:
    """Write the tensors in order and return the file's sha256."""
    digest, position = hashlib.sha256(), 0
    with path.open("wb") as file:
        for index, place in enumerate(placements):
            padding = b"\0" * (place.offset - position)
            file.write(padding)
            digest.update(padding)
            position = place.offset
            for block in _chunks_of(place):
                file.write(block)
                digest.update(block)
                position += len(block)
                if progress is not None:
                    progress(ExportProgress(index, len(placements), position, total, place.name))
        if progress is not None:
            progress(ExportProgress(len(placements), len(placements), total, total, ""))
    assert position == total, f"wrote {position} bytes of {total}"
    return digest.hexdigest()


def _chunks_of(place: _Placement) -> Iterator[memoryview]:
    try:
        yield from place.tensor.chunks()
    except FloatingPointError as error:
        raise CheckpointError(
            f"{place.name}: {error} in the checkpoint, or too large for {place.tensor.dtype.name}; if other "
            "precisions can hold it (fp32, bf16), choose one of them"
        ) from error


def _check_room(folder: Path, total: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < total + RESERVE_BYTES:
        raise _no_room(folder, total, free)


def _no_room(folder: Path, total: int, free: int) -> ExportError:
    return ExportError(
        f"{folder.parent}: no room on the disk: the model needs {total + RESERVE_BYTES:,} bytes, {free:,} are free"
    )
