"""A checkpoint with an adapter merged into it: its tensors, as training the whole model would have left them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import Checkpoint
from genai.export.checkpoint.peft import LoraModule, PeftAdapter, match_module
from genai.export.checkpoint.rows import DecodedRows, MergedRows, Rows, TransposedRows, methods_of

__all__ = ["MergedCheckpoint"]


class MergedCheckpoint:
    """Tensors by name, of which those that an adapter adapts are views of the sum.

    Args:
        checkpoint: The checkpoint that the adapter was trained beside.
        adapter: The adapter.

    Raises:
        CheckpointError: The adapter is another model's.
    """

    def __init__(self, checkpoint: Checkpoint, adapter: PeftAdapter) -> None:
        self._checkpoint = checkpoint
        self._adapter = adapter
        stored = checkpoint.keys()
        names = {name.removesuffix(".weight") for name in stored if name.endswith(".weight")}
        self._added = {
            f"{self._found(module, names)}.weight": added
            for modules in (adapter.modules, adapter.embeddings)
            for module, added in modules.items()
        }
        self._replaced = {
            self._found(name, set(stored)): tensor
            for tensors in (adapter.replaced, adapter.copies)
            for name, tensor in tensors.items()
        }

    @property
    def path(self) -> Path:
        """Where the checkpoint lies."""
        return self._checkpoint.path

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of its config.json."""
        return self._checkpoint.config

    def __getitem__(self, name: str) -> Rows:
        rows = self._replaced[name] if name in self._replaced else self._checkpoint[name]
        return self._merged(name, rows, self._added[name]) if name in self._added else rows

    def __contains__(self, name: object) -> bool:
        return name in self._checkpoint

    def keys(self) -> Set[str]:
        """Return the names of all tensors."""
        return self._checkpoint.keys()

    def file_of(self, name: str) -> Path:
        """Return the file that holds a tensor."""
        return self._checkpoint.file_of(name)

    def _merged(self, name: str, rows: Rows, added: LoraModule) -> Rows:
        shape = (len(added.b), added.a.shape[1])
        is_turned = rows.shape == shape[::-1] and (self._adapter.is_transposed or rows.shape != shape)
        if not is_turned and rows.shape != shape:
            raise CheckpointError(
                f'{self._adapter.path}: it adapts "{name}" as a matrix of {shape[0]} by {shape[1]}, and in '
                f"{self.path} it has the shape {list(rows.shape)}: the adapter is another model's"
            )
        if is_turned:
            source = rows.source if isinstance(rows, TransposedRows) else np.asarray(rows).swapaxes(0, 1)
            return TransposedRows(MergedRows(source, added.a, added.b, added.lengths))
        merged = MergedRows(rows, added.a, added.b, added.lengths)
        methods = methods_of(rows)
        return DecodedRows(merged, " and ".join(sorted(methods))) if methods else merged

    def _found(self, module: str, names: set[str]) -> str:
        name = match_module(module, names)
        if name is None:
            raise CheckpointError(
                f'{self._adapter.path}: it adapts "{module}", which {self.path} does not have: the adapter is another '
                f"model's{f' ({self._adapter.base_model})' if self._adapter.base_model else ''}"
            )
        return name
