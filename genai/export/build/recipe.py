"""The schemes of a precision that is a mixture: which modules of a decoder get more bits than the rest, and the blocks' sizes.

Measured on real weights (docs/quantization.md), a weight of the queries, keys and values costs several times as much as
one of the feed-forward blocks when it has 4 bits, and they are a small part of a decoder. Of the feed-forward blocks a
few cost more than all the others together: those of the first and of the last layer and, on the way out of them, those
in which one neuron answers some tokens far more strongly than any other does (massive activations,
https://arxiv.org/abs/2402.17762; super weights, https://arxiv.org/abs/2411.07191). Such a neuron shows in the weights
alone: its rows of gate and up and its column of down are long.

The projections that the steps of a state space are computed by are small too, and what they decide stays in its state: they
get 8 bits.

Large blocks are multiplied faster: on a CPU a weight of 4 bits takes 33 ps in blocks of 32 and 19 in blocks of 128, one of
8 bits 39 (one row, two Zen 4 cores). So blocks are as large as a matrix's rows allow, and what this loses is bought back with
8 bits for attention's output and for `down` in more blocks: together that is faster than blocks of 32, and about as good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genai.config import ExportSettings
from genai.export.checkpoint.rows import Rows
from genai.quantize import BlockScheme

__all__ = ["Recipe", "lengths", "strongest_neuron"]

_VOCABULARY = ("embedding", "head")
_ATTENTION = ("*.attention.q", "*.attention.k", "*.attention.v")
_ATTENTION_OUTPUT = "*.attention.output"
_SELECTION = ("*.selection.low", "*.selection.steps")
_FEED_FORWARD = ("gate", "up", "down")
_PEAK, _PEAK_OF_LARGE_BLOCKS = 4.5, 2.5

_CHUNK = 1 << 22  # weights that are looked at at once, 32 MB in float64


@dataclass(frozen=True, slots=True)
class Recipe:
    """A mixture: what most matrices of a decoder are stored in, and which of them get more bits.

    Args:
        narrow: The scheme of most matrices, where its blocks are as small as they can be.
        block_sizes: The sizes that they can have, from the largest on; that of `narrow` is the last.
        wide: The scheme of the sensitive ones.
        modules: Patterns of paths, as `Precision.schemes` has them, of what is sensitive in every decoder.
        ends: What is sensitive in the feed-forward blocks of the first and the last layer.
        peak: How far above the median neuron the strongest one of a block in between has to be for its `down` to be
            sensitive too.
    """

    narrow: BlockScheme
    block_sizes: tuple[int, ...]
    wide: BlockScheme
    modules: tuple[str, ...]
    ends: tuple[str, ...]
    peak: float

    @classmethod
    def of(cls, settings: ExportSettings) -> Self | None:
        """Return the recipe that a precision stands for; `None` if it is no mixture."""
        sizes, form = settings.block_sizes, settings.form
        size = sizes[-1]
        method = "hqq" if settings.quantize == "hqq" else "rtn"
        narrow = BlockScheme(
            4, size, is_symmetric=not form.has_zero_points, method=method, scale_type="float16"
        )
        coarse_size = min(2 * size, 256)
        wide = BlockScheme(8, coarse_size if form.widens_blocks else size, scale_type="float16")
        match settings.precision:
            case "int4":
                has_large_blocks = len(sizes) > 1
                output = (_ATTENTION_OUTPUT,) if has_large_blocks else ()
                peak = _PEAK_OF_LARGE_BLOCKS if has_large_blocks else _PEAK
                modules = (*_VOCABULARY, *_ATTENTION, *output)
                return cls(narrow, sizes, wide, modules, _FEED_FORWARD, peak)
            case "int4-small":
                size = min(coarse_size, form.max_narrow_block)
                return cls(replace(narrow, block_size=size), (size,), wide, _VOCABULARY, ("down",), _PEAK)
            case _:
                return None

    def narrow_for(self, path: str, num_columns: int) -> BlockScheme:
        """Return the scheme of a matrix that gets no more bits.

        In dense feed-forward blocks a matrix has the largest blocks of which a row has whole ones. Any other has the
        smallest: what larger ones cost experts, linear attention or convolutions was not measured.

        Args:
            path: The module's path.
            num_columns: The matrix's inputs.
        """
        if ".mlp." not in path or ".experts." in path:
            return self.narrow
        fitting = [size for size in self.block_sizes if num_columns % size == 0]
        return replace(self.narrow, block_size=fitting[0]) if fitting else self.narrow

    def candidates(self) -> list[BlockScheme]:
        """Return the schemes that a bit budget chooses from, each once: the narrow one, coarser ones, and the wide one."""
        coarse = replace(self.narrow, block_size=self.wide.block_size)
        return list(dict.fromkeys([self.narrow, coarse, replace(self.narrow, bits=2), self.wide]))

    def wide_modules(self, parameters: Mapping[str, Rows]) -> list[str]:
        """Return patterns of all that gets more bits in a decoder.

        Args:
            parameters: The decoder's parameters by canonical name.
        """
        modules = list(self.modules)
        modules += [
            pattern
            for pattern in _SELECTION
            if any(fnmatchcase(name, f"{pattern}.weight") for name in parameters)
        ]
        blocks = _dense_blocks(parameters)
        for block in blocks:
            if block in (blocks[0], blocks[-1]):
                modules += [f"{block}.{name}" for name in self.ends]
            elif strongest_neuron(parameters, block) > self.peak:
                modules.append(f"{block}.down")
        return modules


def strongest_neuron(parameters: Mapping[str, Rows], block: str) -> float:
    """Return the strength of a feed-forward block's strongest neuron, in those of its median one.

    Args:
        parameters: The decoder's parameters by canonical name.
        block: The block's path, such as "layers.3.mlp".
    """
    strengths = lengths(parameters[f"{block}.up.weight"], axis=1)
    if f"{block}.gate.weight" in parameters:
        strengths *= lengths(parameters[f"{block}.gate.weight"], axis=1)
    strengths *= lengths(parameters[f"{block}.down.weight"], axis=0)
    return float(strengths.max() / max(float(np.median(strengths)), np.finfo(np.float64).tiny))


def _dense_blocks(parameters: Mapping[str, Rows]) -> list[str]:
    """The paths of the feed-forward blocks, in the order of their layers; those of experts are not among them."""
    paths = [name.removesuffix(".down.weight") for name in parameters if name.endswith(".mlp.down.weight")]
    return sorted(paths, key=lambda path: int(path.split(".")[1]))


def lengths(matrix: Rows, *, axis: int) -> NDArray[np.float64]:
    """Return the lengths of a matrix's rows (axis 1) or columns (axis 0)."""
    step = max(_CHUNK // matrix.shape[1], 1)
    squares = [
        np.square(np.asarray(matrix[start : start + step], np.float64)).sum(axis=axis)
        for start in range(0, len(matrix), step)
    ]
    found: NDArray[np.float64] = np.sqrt(np.concatenate(squares) if axis == 1 else np.sum(squares, axis=0))
    return found
