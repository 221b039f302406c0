"""Which modules of a decoder get more bits than the rest, where a precision is a mixture.

Measured on real weights (docs/quantization.md), a weight of the queries, keys and values costs several times as much as
one of the feed-forward blocks when it has 4 bits, and they are a small part of a decoder. Of the feed-forward blocks a
few cost more than all the others together: those of the first and of the last layer and, on the way out of them, those
in which one neuron answers some tokens far more strongly than any other does (massive activations,
https://arxiv.org/abs/2402.17762; super weights, https://arxiv.org/abs/2411.07191). Such a neuron shows in the weights
alone: its rows of gate and up and its column of down are long.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from genai.export.build.precision import Precision
from genai.export.checkpoint.rows import Rows

__all__ = ["lengths", "mixed_precision", "strongest_neuron"]

PEAK = 4.5
"""How far above the median neuron the strongest one has to be."""

_ROWS = 4096  # that are looked at at once


def mixed_precision(precision: Precision, parameters: Mapping[str, Rows]) -> Precision:
    """Return a precision with more bits for a decoder's most sensitive modules; one that is no mixture as it is.

    Args:
        precision: What was asked for.
        parameters: The decoder's parameters by canonical name.
    """
    if precision.name != "int4":
        return precision
    blocks = _dense_blocks(parameters)
    modules = ["*.attention.q", "*.attention.k", "*.attention.v"]
    for block in blocks:
        if block in (blocks[0], blocks[-1]):
            modules += [f"{block}.gate", f"{block}.up", f"{block}.down"]
        elif strongest_neuron(parameters, block) > PEAK:
            modules.append(f"{block}.down")
    return precision.with_schemes(dict.fromkeys(modules, precision.scheme_of("head")))


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
    squares = [
        np.square(np.asarray(matrix[start : start + _ROWS], np.float64)).sum(axis=axis)
        for start in range(0, len(matrix), _ROWS)
    ]
    lengths: NDArray[np.float64] = np.sqrt(np.concatenate(squares) if axis == 1 else np.sum(squares, axis=0))
    return lengths
