"""A GGUF file as a checkpoint of transformers: its config, and its tensors under transformers' names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import Array
from genai.export.checkpoint.gguf.architectures import find_architecture
from genai.export.checkpoint.gguf.architectures.architecture import Architecture
from genai.export.checkpoint.gguf.blocks import CARRIED
from genai.export.checkpoint.gguf.model import GgufModel
from genai.export.checkpoint.gguf.reader import GgufFile, read_gguf
from genai.export.checkpoint.gguf.sources import Part, Renamed
from genai.export.checkpoint.gguf.tensors import matrix_of, view_of
from genai.export.checkpoint.gguf.tokens import token_ids
from genai.export.checkpoint.gguf.types import FLOATS
from genai.export.checkpoint.rows import Rows

__all__ = ["QUANT_METHOD", "GgufCheckpoint"]

QUANT_METHOD = "gguf"
"""What `quant_method` of `quantization_config` is in the config of a file with quantized tensors."""

_MISFITS = (ArithmeticError, LookupError, TypeError, ValueError)
"""What sizes that contradict one another lead to, where tensors are rearranged by them."""

_NAME = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<module>.+?)(?P<ending>\.weight|\.bias)?")
_EXPERTS = re.compile(r"blk\.(\d+)\.ffn_(?:gate|up|down)_exps\.weight")


@dataclass(frozen=True, slots=True)
class _Presented:
    """A tensor under transformers' name, and the file that holds it."""

    file: Path
    view: Rows


class GgufCheckpoint:
    """A GGUF file; as a mapping, its tensors by transformers' names."""

    def __init__(self, file: GgufFile) -> None:
        model = GgufModel.of(file)
        architecture = find_architecture(model.architecture)
        self.path = file.path
        try:
            self.config: Mapping[str, Any] = _config_of(architecture, model)
            self._tensors = dict(_present(architecture, file, self.config))
        except _MISFITS as error:
            raise CheckpointError(
                f"the metadata and the tensors do not fit together ({type(error).__name__}: {error}); download the file again"
            ) from error

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the header of a file.

        Raises:
            CheckpointError: It is truncated or malformed, or lacks what its architecture needs.
            UnsupportedModelError: Its architecture, or a type of its tensors, is not known.
        """
        return cls(read_gguf(path))

    def __getitem__(self, name: str, /) -> Rows:
        return self._tensors[name].view

    def __contains__(self, name: object, /) -> bool:
        return name in self._tensors

    def keys(self) -> Set[str]:
        """Return the names of all tensors."""
        return self._tensors.keys()

    def raw(self, name: str, *, dtype: str) -> Array:
        """Refuse: what safetensors hold in bytes, GGUF files hold in blocks of their own."""
        raise CheckpointError(
            f'{self.file_of(name)}: the tensor "{name}" is not of {dtype}, which GGUF does not have'
        )

    def file_of(self, name: str) -> Path:
        """Return the file that holds a tensor."""
        return self._tensors[name].file


def _config_of(architecture: Architecture, model: GgufModel) -> dict[str, Any]:
    config = architecture.config(model) | token_ids(model.metadata)
    types = sorted({tensor.type_name for tensor in model.tensors.values()} - set(FLOATS))
    if types:
        config["quantization_config"] = {"quant_method": QUANT_METHOD, "types": types}
    return config


def _present(
    architecture: Architecture, file: GgufFile, config: Mapping[str, Any]
) -> Iterator[tuple[str, _Presented]]:
    """Return transformers' name of every tensor; one that the architecture does not know keeps its own."""
    joined = set[str]()
    for join in architecture.joins:
        for layer in range(int(config["num_hidden_layers"])):
            stored = [name.format(i=layer) for name in join.stored]
            if all(name in file.tensors for name in stored):
                joined.update(stored)
                first, *others = [file.tensors[name] for name in stored]
                views = [matrix_of(tensor) for tensor in (first, *others)]
                yield join.name.format(i=layer), _Presented(first.file, join.make(*views, config))
    table, unlike = architecture.table(config), _unlike_experts(file)
    for name, tensor in file.tensors.items():
        match = _NAME.fullmatch(name)
        assert match is not None, "any name is one"
        ending = match["ending"] or ""
        module = match["module"] if match["layer"] is None else f"blk.{{i}}.{match['module']}"
        if name in joined or module + ending in architecture.ignored:
            continue
        source = table.get(module)
        if source is None:
            yield name, _Presented(tensor.file, view_of(tensor))
            continue
        source = Renamed(source) if isinstance(source, str) else source
        for full_name, view in source.present(Part(tensor, ending, is_decoded=name in unlike), config):
            yield full_name.replace("{i}", match["layer"] or ""), _Presented(tensor.file, view)


def _unlike_experts(file: GgufFile) -> set[str]:
    """Return the experts' tensors that no kernel takes as they are.

    ONNX Runtime computes a layer's experts with one scheme, and has no operand for offsets.
    """
    layers: dict[str, list[str]] = {}
    for name in file.tensors:
        if match := _EXPERTS.fullmatch(name):
            layers.setdefault(match[1], []).append(name)
    unlike = set[str]()
    for names in layers.values():
        types = {file.tensors[name].type_name for name in names}
        carried = CARRIED.get(min(types))
        if len(types) > 1 or (carried is not None and carried.offsets is not None):
            unlike.update(names)
    return unlike
