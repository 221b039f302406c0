"""Schemes by patterns of modules' paths, as a manifest lists them: one line for a module of all layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from genai.quantize import BlockScheme

__all__ = ["layer_pattern", "schemes_by_pattern"]


def schemes_by_pattern(schemes: Mapping[str, BlockScheme], modules: Iterable[str]) -> dict[str, BlockScheme]:
    """Return schemes by patterns of paths: one for a module of all layers, where all layers' have the same.

    Args:
        schemes: By path.
        modules: Other paths that a pattern might match.
    """
    alike: dict[str, set[BlockScheme | None]] = {}
    for module in {*schemes, *modules}:
        alike.setdefault(layer_pattern(module), set()).add(schemes.get(module))
    return {
        layer_pattern(path) if len(alike[layer_pattern(path)]) == 1 else path: scheme
        for path, scheme in schemes.items()
    }


def layer_pattern(path: str) -> str:
    """Return a path with a star for the layer's number.

    >>> layer_pattern("layers.12.mlp.down")
    'layers.*.mlp.down'
    """
    return re.sub(r"^layers\.\d+\.", "layers.*.", path)
