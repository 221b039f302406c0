"""From a family's weight names to a decoder's parameters: views of the checkpoint, renamed, split and transposed.

A weight map has one entry per module, under the builder's name of it: `{"attention.q": "self_attn.q_proj"}`. `{i}`
stands for the layer, `{half}` for half its number where two layers are stored as one block, `{e}` for one of several
equal parts of a parameter (an expert, or a head with a norm of its own). A tuple of names on the left is one stored
module that holds them all, stacked along the outputs in that order. On the right stands the module's name, to which
".weight" and ".bias" are added, or a description of how it is stored otherwise. Every view is checked for its shape
before anything is written, and a tensor that no entry accounts for is refused: it would be silently ignored
otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint.checkpoint import Checkpoint, architecture_of
from genai.export.checkpoint.rows import Experts, Rows, SelectedRows, TransposedRows, experts_of

__all__ = [
    "Flat",
    "Grouped",
    "IfStored",
    "Named",
    "Place",
    "Transposed",
    "WeightMap",
    "Weights",
    "stores_own_head",
]


@dataclass(frozen=True, slots=True)
class Named:
    """Tensors whose names do not end in ".weight" and ".bias"."""

    weight: str
    bias: str | None = None


@dataclass(frozen=True, slots=True)
class Transposed:
    """A module whose matrix of floats is stored as [inputs, outputs]; quantized ones never are.

    Args:
        module: The module.
        unless_it_fits: Whether a matrix that has the right shape as it is stored is taken like that.
    """

    module: str | Named
    unless_it_fits: bool = False


@dataclass(frozen=True, slots=True)
class Flat:
    """A vector of floats that is stored with further axes, of one element each."""

    module: str


@dataclass(frozen=True, slots=True)
class Grouped:
    """Several modules whose rows are stored in groups, each with an equal share of every module in turn.

    With as many groups as key/value heads: the queries, keys and values of one head after the other. With as many as
    rows: the modules' rows in turn.
    """

    module: str | Named | Transposed
    groups: int


@dataclass(frozen=True, slots=True)
class IfStored:
    """A module that only some checkpoints have; the entries after it then need not be there, where it serves them."""

    module: str | Named | Transposed | Grouped


@dataclass(frozen=True, slots=True)
class Place:
    """A decoder's module among the outputs of a stored matrix.

    Args:
        module: Its canonical name, such as "layers.0.attention.q".
        outputs: int64 [rows], which outputs of the stored matrix are the module's, in its own order.
    """

    module: str
    outputs: NDArray[np.int64]


EXPERTS = ".experts."
"""What the canonical names of modules have in them whose tensors have a first axis of experts."""

Source = str | Named | Transposed | Flat | Grouped | IfStored
WeightMap = Mapping[str | tuple[str, ...], Source]


def stores_own_head(checkpoint: Checkpoint, weight_map: WeightMap, prefixes: tuple[str, ...]) -> bool:
    """Whether a checkpoint has a head that is not its embedding; names and prefixes as those of `Weights`."""
    name = _prefix_of(checkpoint, weight_map, prefixes) + _embedding_in(weight_map)
    heads = [checkpoint[each] for each in sorted(checkpoint.keys()) if _HEAD.search(each)]
    return name in checkpoint and any(not _are_equal(head, checkpoint[name]) for head in heads)


class Weights(Mapping[str, Rows]):
    """A decoder's parameters by canonical name (`layers.0.attention.q.weight`), as views of the mapped files.

    Args:
        checkpoint: Where they are.
        weight_map: What they are called there, relative to the prefix.
        shapes: Which ones there must be, and of which shape.
        num_layers: Number of layers that `{i}` counts.
        tied: Whether the head is the embedding, so that none may be stored.
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
        *,
        shapes: Mapping[str, tuple[int, ...]],
        num_layers: int,
        tied: bool,
        prefixes: tuple[str, ...] = ("",),
        ignored: tuple[str, ...] = (),
    ) -> None:
        self._checkpoint = checkpoint
        self._shapes = shapes
        self._views: dict[str, Rows] = {}
        self._places: dict[str, list[Place]] = {}
        self._used: set[str] = set()
        self._prefix = _prefix_of(checkpoint, weight_map, prefixes)
        stored = {modules: _Stored.of(source) for modules, source in weight_map.items()}
        for index in range(num_layers):
            for modules, source in stored.items():
                if source.is_of_layer:
                    self._take(modules, source, index)
        for modules, source in stored.items():
            if not source.is_of_layer:
                self._take(modules, source, None)
        unmapped = [name for name in self._shapes if name not in self._views]
        assert not unmapped, f"the weight map lacks {unmapped[0]}"
        if tied:
            self._check_tied_head()
        self._refuse_leftovers((*ignored, *_ALWAYS_IGNORED))

    def __getitem__(self, name: str) -> Rows:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    @property
    def places(self) -> Mapping[str, Sequence[Place]]:
        """The modules that each stored matrix is cut into, by its name in the checkpoint without ".weight"."""
        return self._places

    def uses(self, module: str) -> bool | None:
        """Whether the decoder makes use of a module of the checkpoint; `None` if the checkpoint has no such module."""
        name = f"{module}.weight"
        return name in self._used if name in self._checkpoint else None

    def _take(self, modules: str | tuple[str, ...], source: _Stored, index: int | None) -> None:
        """Enter the views of one stored module's tensors."""
        scope = "" if index is None else f"layers.{index}."
        names = (modules,) if isinstance(modules, str) else modules
        for ending, stored in source.tensors:
            wanted = [f"{scope}{name}{ending}" for name in names]
            if not any(name in self._shapes for name in wanted) or all(
                name in self._views for name in wanted
            ):
                continue
            if source.is_optional and self._full_name(_filled(stored, index)) not in self._checkpoint:
                continue
            shapes = [self._shapes[name] for name in wanted]
            if "{e}" in stored:
                names_of_parts = [
                    _filled(stored, index).replace("{e}", str(part)) for part in range(shapes[0][0])
                ]
                parts = [self._pieces(name, source, [s[1:] for s in shapes]) for name in names_of_parts]
                views: list[Rows] = [Experts(pieces) for pieces in zip(*parts, strict=True)]
            else:
                axis = int(EXPERTS in wanted[0])
                views = self._pieces(_filled(stored, index), source, shapes, axis=axis)
                if ending == ".weight" and not axis:
                    self._note_places(_filled(stored, index), names, scope, source.groups, views)
            self._views |= zip(wanted, views, strict=True)

    def _pieces(
        self, stored: str, source: _Stored, shapes: list[tuple[int, ...]], *, axis: int = 0
    ) -> list[Rows]:
        """Return the parts of one stored tensor that have these shapes and are stacked along this axis."""
        size = sum(shape[axis] for shape in shapes)
        expected = (*shapes[0][:axis], size, *shapes[0][axis + 1 :])
        heights = [shape[axis] for shape in shapes]
        tensor = self._checkpoint[self._name_in_use(stored)]
        if not tensor.shape:  # one number
            tensor = np.asarray(tensor).reshape(1)
        is_turned = isinstance(tensor, np.ndarray | TransposedRows)
        is_transposed = source.is_transposed and is_turned and len(tensor.shape) > 1 + axis
        is_transposed &= not (source.may_fit and tensor.shape == expected)
        view = _transposed(tensor) if is_transposed else tensor
        if source.is_flat:
            view = np.asarray(tensor).reshape(-1)
        if view.shape != expected:
            shown = (*expected[:-2], expected[-1], expected[-2]) if is_transposed else expected
            raise self._wrong_shape(stored, tensor, shown)
        if axis == 1:
            return [Experts(pieces) for pieces in _split_all(experts_of(view), heights, source.groups)]
        return _split(view, heights, source.groups)

    def _note_places(
        self, stored: str, modules: Sequence[str], scope: str, groups: int, views: Sequence[Rows]
    ) -> None:
        """Remember which outputs of a stored matrix each of these modules has."""
        heights = [len(view) for view in views]
        outputs = _split(np.arange(sum(heights), dtype=np.int64), heights, groups)
        self._places[self._full_name(stored).removesuffix(".weight")] = [
            Place(scope + module, np.asarray(piece[:]))
            for module, piece in zip(modules, outputs, strict=True)
        ]

    def _wrong_shape(self, stored: str, tensor: Rows, expected: tuple[int, ...]) -> CheckpointError:
        name = self._full_name(stored)
        return CheckpointError(
            f'{self._checkpoint.file_of(name)}: the tensor "{name}" has shape {list(tensor.shape)}, but config.json '
            f"implies {list(expected)}"
        )

    def _full_name(self, stored: str) -> str:
        """The name with the prefix, or with fewer of its parts where only that exists (lm_head is often outside)."""
        parts = self._prefix.split(".")[:-1]
        names = [".".join((*parts[:count], stored)) for count in range(len(parts), -1, -1)]
        return next((name for name in names if name in self._checkpoint), names[0])

    def _name_in_use(self, stored: str) -> str:
        """Return a tensor's full name, and remember that it has a place."""
        name = self._full_name(stored)
        if name not in self._checkpoint:
            raise CheckpointError(
                f'{self._checkpoint.path}: the tensor "{name}" is missing; download the checkpoint again, or check '
                "that config.json belongs to it"
            )
        self._used.add(name)
        return name

    def _check_tied_head(self) -> None:
        """A head that is stored although it is tied must be the embedding (transformers would take the stored one)."""
        embedding = self._views["embedding.weight"]
        self._places["lm_head"] = [Place("head", np.arange(len(embedding), dtype=np.int64))]
        for name in self._checkpoint.keys() - self._used:
            if not _HEAD.search(name):
                continue
            if not _are_equal(self._checkpoint[name], embedding):
                raise CheckpointError(
                    f'{self._checkpoint.file_of(name)}: the tensor "{name}" is not the embedding, to which '
                    'config.json ties it; set "tie_word_embeddings" to false there if the stored one is meant'
                )
            self._used.add(name)

    def _is_zero_bias(self, name: str) -> bool:
        """Whether it is a bias that changes nothing, as AutoGPTQ stores with every module."""
        return name.endswith(".bias") and not np.asarray(self._checkpoint[name]).any()

    def _refuse_leftovers(self, ignored: tuple[str, ...]) -> None:
        patterns = [re.compile(pattern) for pattern in ignored]
        leftovers = [
            name
            for name in sorted(self._checkpoint.keys() - self._used)
            if not any(pattern.search(name) for pattern in patterns) and not self._is_zero_bias(name)
        ]
        if leftovers:
            more = f" and {len(leftovers) - 1} more" if len(leftovers) > 1 else ""
            raise UnsupportedModelError(
                f'{self._checkpoint.file_of(leftovers[0])}: the tensor "{leftovers[0]}"{more} has no place in '
                f"{architecture_of(self._checkpoint.config, self._checkpoint.path)} as genai knows it; exporting without it would give a different model"
            )


@dataclass(frozen=True, slots=True)
class _Stored:
    """A source of a weight map, taken apart.

    Args:
        tensors: The ending of a canonical name, and the stored tensor's name.
        is_transposed: Whether matrices are stored as [inputs, outputs].
        may_fit: Whether some of these are stored as [outputs, inputs].
        is_flat: Whether only the order of the elements counts.
        groups: In how many groups the rows of the modules take turns.
        is_optional: Whether a checkpoint may lack them.
    """

    tensors: tuple[tuple[str, str], ...]
    is_transposed: bool
    may_fit: bool
    is_flat: bool
    groups: int
    is_optional: bool

    @classmethod
    def of(cls, source: Source) -> _Stored:
        groups, is_transposed, may_fit, is_flat = 1, False, False, isinstance(source, Flat)
        is_optional = isinstance(source, IfStored)
        if isinstance(source, IfStored):
            source = source.module
        if isinstance(source, Grouped):
            groups, source = source.groups, source.module
        if isinstance(source, Transposed):
            is_transposed, may_fit, source = True, source.unless_it_fits, source.module
        if isinstance(source, Flat):
            source = source.module
        if isinstance(source, Named):
            names = [(".weight", source.weight), ("", source.weight)]
            names += [(".bias", source.bias)] if source.bias is not None else []
        else:
            names = [(".weight", f"{source}.weight"), (".bias", f"{source}.bias"), ("", source)]
        return cls(tuple(names), is_transposed, may_fit, is_flat, groups, is_optional)

    @property
    def is_of_layer(self) -> bool:
        return any("{i}" in name or "{half}" in name for _, name in self.tensors)


_ROW_BLOCK = 1 << 20  # elements that are compared at once

# Buffers that old versions of transformers saved beside the weights; their values follow from the config.
_ALWAYS_IGNORED = (r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$", r"\.attn\.(masked_)?bias$")
_HEAD = re.compile(r"(^|\.)lm_head\.weight$")


def _filled(stored: str, index: int | None) -> str:
    """Return a stored name with a layer's number in it."""
    if index is None:
        return stored
    return stored.replace("{i}", str(index)).replace("{half}", str(index // 2))


def _transposed(tensor: Rows) -> Rows:
    return tensor.source if isinstance(tensor, TransposedRows) else np.asarray(tensor).swapaxes(-1, -2)


def _split_all(experts: Iterable[Rows], heights: list[int], groups: int) -> Iterator[tuple[Rows, ...]]:
    """Cut every expert's matrix or vector into modules; return each module's parts, expert by expert."""
    return zip(*(_split(expert, heights, groups) for expert in experts), strict=True)


def _split(view: Rows, heights: list[int], groups: int) -> list[Rows]:
    """Cut a matrix or vector into modules of so many rows, which lie one after the other in every group."""
    group_height = sum(heights) // groups
    first_rows = np.arange(groups, dtype=np.int64)[:, None] * group_height
    pieces: list[Rows] = []
    start = 0
    for height in heights:
        stop = start + height // groups
        if groups == 1 and isinstance(view, np.ndarray):
            pieces.append(view[start:stop])
        elif height == len(view):
            pieces.append(view)
        else:  # a slice of anything but an array would be read
            pieces.append(SelectedRows(view, (first_rows + np.arange(start, stop)).reshape(-1)))
        start = stop
    return pieces


def _are_equal(one: Rows, other: Rows) -> bool:
    """Whether two tensors are the same, looked at some rows at a time."""
    step = max(1, _ROW_BLOCK // max(1, math.prod(one.shape[1:])))
    return one.shape == other.shape and all(
        np.array_equal(one[start : start + step], other[start : start + step])
        for start in range(0, len(one), step)
    )


def _prefix_of(checkpoint: Checkpoint, weight_map: WeightMap, prefixes: tuple[str, ...]) -> str:
    """The first prefix under which the embedding exists."""
    embedding = _embedding_in(weight_map)
    return next((prefix for prefix in prefixes if prefix + embedding in checkpoint), prefixes[0])


def _embedding_in(weight_map: WeightMap) -> str:
    """What the embedding is called, without a prefix."""
    return dict(_Stored.of(weight_map["embedding"]).tensors)[".weight"]
