"""A checkpoint whose quantized matrices look like any other tensors."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import StoredTensors
from genai.export.checkpoint.quantized.format import Format, StoredModule
from genai.export.checkpoint.rows import DecodedRows, Rows, methods_of

__all__ = ["QuantizedCheckpoint"]


class QuantizedCheckpoint:
    """Tensors by the names that transformers gives them; what a format stores in parts is one view of its rows.

    Args:
        stored: The tensors as they lie in the files.
        layout: How the quantized ones are stored.
    """

    def __init__(self, stored: StoredTensors, layout: Format) -> None:
        self._stored = stored
        self._layout = layout
        self._modules: dict[str, tuple[StoredModule, str]] = {}
        names = stored.keys()
        for name in names:
            for marker, presented in layout.markers:
                if name.endswith(marker):
                    module = StoredModule(stored, name.removesuffix(marker))
                    self._modules[f"{module.name}{presented}"] = (module, name)
        hidden = {f"{module.name}{part}" for module, _ in self._modules.values() for part in layout.parts}
        hidden |= {marker for _, marker in self._modules.values()}
        hidden |= {name for name in names if name.endswith(tuple(layout.ignored))}
        self._names = (names - hidden) | self._modules.keys()

    @property
    def path(self) -> Path:
        """The folder."""
        return self._stored.path

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of config.json."""
        return self._stored.config

    def __getitem__(self, name: str) -> Rows:
        if name not in self._modules:
            return self._stored[name]
        module, marker = self._modules[name]
        try:
            view = self._layout.read(module)
        except CheckpointError as error:
            if module.name in str(error):
                raise
            raise type(error)(f'{self._stored.file_of(marker)}: "{module.name}": {error}') from error
        return view if methods_of(view) else DecodedRows(view, self._layout.method, stays_float=True)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def keys(self) -> Set[str]:
        """Return the names of all tensors, without those of parts."""
        return self._names

    def file_of(self, name: str) -> Path:
        """Return the file that holds a tensor, or one part of it."""
        return self._stored.file_of(self._modules[name][1] if name in self._modules else name)
