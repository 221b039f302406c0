"""From a family's weight names to a decoder's parameters: views of the checkpoint, renamed, split and transposed.

A weight map has one entry per module, under the builder's name of it: `{"attention.q": "self_attn.q_proj"}`. A tuple
of names on the left is one stored module that holds them all, stacked along the outputs in that order; `Transposed`
on the right is a matrix stored as [inputs, outputs]. `{i}` is the layer. Every view is checked for its shape before
anything is written, and a tensor that no entry accounts for is refused: it would be silently ignored otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint import Array, Checkpoint
from genai.export.spec import DecoderSpec

__all__ = ["Transposed", "WeightMap", "Weights"]


@dataclass(frozen=True, slots=True)
class Transposed:
    """The name of a stored matrix whose axes are [inputs, outputs]."""

    name: str


WeightMap = Mapping[str | tuple[str, ...], str | Transposed]


class Weights(Mapping[str, Array]):
    """A decoder's parameters by canonical name (`layers.0.attention.q.weight`), as views of the mapped files.

    Args:
        checkpoint: Where they are.
        weight_map: What they are called there, relative to the prefix.
        spec: Which ones there must be, and of which shape.
        prefixes: What may stand before the names; the first that the checkpoint uses counts.
        ignored: Regular expressions of names that may be left over.

    Raises:
        CheckpointError: A tensor is missing or has the wrong shape, or a head is stored that should be the embedding.
        UnsupportedModelError: The checkpoint has tensors that nothing here uses.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        weight_map: WeightMap,
        spec: DecoderSpec,
        *,
        prefixes: tuple[str, ...] = ("",),
        ignored: tuple[str, ...] = (),
    ) -> None:
        self._checkpoint = checkpoint
        self._shapes = spec.parameters()
        self._views: dict[str, Array] = {}
        self._used: set[str] = set()
        self._prefix = _prefix_of(checkpoint, weight_map, prefixes)
        for index in range(len(spec.layers)):
            for modules, source in weight_map.items():
                if "{i}" in _name_of(source):
                    self._take(modules, source, index)
        for modules, source in weight_map.items():
            if "{i}" not in _name_of(source):
                self._take(modules, source, None)
        unmapped = [name for name in self._shapes if name not in self._views]
        assert not unmapped, f"the weight map lacks {unmapped[0]}"
        if spec.tied:
            self._check_tied_head()
        self._refuse_leftovers((*ignored, *_ALWAYS_IGNORED))

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def _take(self, modules: str | tuple[str, ...], source: str | Transposed, index: int | None) -> None:
        """Enter the views of one stored module's weight and bias."""
        scope = "" if index is None else f"layers.{index}."
        names = (modules,) if isinstance(modules, str) else modules
        for kind in ("weight", "bias"):
            wanted = [f"{scope}{name}.{kind}" for name in names]
            if not any(name in self._shapes for name in wanted):
                continue
            stored = f"{_name_of(source).format(i=index)}.{kind}"
            tensor = self._find(stored)
            shapes = [self._shapes[name] for name in wanted]
            expected = (sum(shape[0] for shape in shapes), *shapes[0][1:])
            is_transposed = isinstance(source, Transposed) and tensor.ndim == 2
            found = tensor.shape[::-1] if is_transposed else tensor.shape
            if found != expected:
                raise CheckpointError(
                    f'{self._checkpoint.file_of(self._full_name(stored))}: the tensor "{self._full_name(stored)}" has '
                    f"shape {list(tensor.shape)}, but config.json implies "
                    f"{list(expected[::-1] if is_transposed else expected)}"
                )
            view, start = (tensor.T if is_transposed else tensor), 0
            for name, shape in zip(wanted, shapes, strict=True):
                self._views[name] = view[start : start + shape[0]]
                start += shape[0]

    def _full_name(self, stored: str) -> str:
        """The name with the prefix, or with fewer of its parts where only that exists (lm_head is often outside)."""
        parts = self._prefix.split(".")[:-1]
        names = [".".join((*parts[:count], stored)) for count in range(len(parts), -1, -1)]
        return next((name for name in names if name in self._checkpoint), names[0])

    def _find(self, stored: str) -> Array:
        name = self._full_name(stored)
        if name not in self._checkpoint:
            raise CheckpointError(
                f'{self._checkpoint.path}: the tensor "{name}" is missing; download the checkpoint again, or check '
                "that config.json belongs to it"
            )
        self._used.add(name)
        return self._checkpoint[name]

    def _check_tied_head(self) -> None:
        """A head that is stored although it is tied must be the embedding (transformers would take the stored one)."""
        embedding = self._views["embedding.weight"]
        for name in self._checkpoint.keys() - self._used:
            if not _HEAD.search(name):
                continue
            if not _are_equal(self._checkpoint[name], embedding):
                raise CheckpointError(
                    f'{self._checkpoint.file_of(name)}: the tensor "{name}" is not the embedding, to which '
                    'config.json ties it; set "tie_word_embeddings" to false there if the stored one is meant'
                )
            self._used.add(name)

    def _refuse_leftovers(self, ignored: tuple[str, ...]) -> None:
        patterns = [re.compile(pattern) for pattern in ignored]
        leftovers = [
            name
            for name in sorted(self._checkpoint.keys() - self._used)
            if not any(pattern.search(name) for pattern in patterns)
        ]
        if leftovers:
            more = f" and {len(leftovers) - 1} more" if len(leftovers) > 1 else ""
            raise UnsupportedModelError(
                f'{self._checkpoint.file_of(leftovers[0])}: the tensor "{leftovers[0]}"{more} has no place in '
                f"{self._checkpoint.architecture} as genai knows it; exporting without it would give a different model"
            )


_ROW_BLOCK = 1 << 20  # elements that are compared at once

# Buffers that old versions of transformers saved beside the weights; their values follow from the config.
_ALWAYS_IGNORED = (r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$", r"\.attn\.(masked_)?bias$")
_HEAD = re.compile(r"(^|\.)lm_head\.weight$")


def _are_equal(one: Array, other: Array) -> bool:
    """Whether two tensors are the same, looked at some rows at a time."""
    step = max(1, _ROW_BLOCK // max(1, math.prod(one.shape[1:])))
    return one.shape == other.shape and all(
        np.array_equal(one[start : start + step], other[start : start + step])
        for start in range(0, len(one), step)
    )


def _name_of(source: str | Transposed) -> str:
    return source.name if isinstance(source, Transposed) else source


def _prefix_of(checkpoint: Checkpoint, weight_map: WeightMap, prefixes: tuple[str, ...]) -> str:
    """The first prefix under which the embedding exists."""
    embedding = f"{_name_of(weight_map['embedding'])}.weight"
    return next((prefix for prefix in prefixes if prefix + embedding in checkpoint), prefixes[0])
