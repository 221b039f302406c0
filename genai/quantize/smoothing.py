"""Smoothing: large input channels are divided, and the columns that read them multiplied, so that these round better.

The idea is that of AWQ (https://arxiv.org/abs/2306.00978): the weights that large inputs meet matter most, and in a
block of weights a larger one loses less. What divides the inputs is whoever produces them, such as a norm's weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genai.quantize.rtn import round_to_nearest
from genai.quantize.scheme import BlockScheme

__all__ = ["choose_factors", "equalizing_factors", "output_error"]

Floats = NDArray[np.float32]

_EXPONENTS = (0.0, 0.25, 0.5, 0.75)
_LEAST_SIZE = 1e-3  # of a channel, as a share of the largest


def choose_factors(
    weights: Sequence[tuple[Floats, BlockScheme]],
    hessian: NDArray[np.floating],
    *,
    channels: NDArray[np.int64] | None = None,
) -> Floats:
    """Return what to multiply the columns of matrices by that read the same inputs: float32 [inputs].

    The factors are a power of the inputs' sizes, with a few exponents, 0 among them, or bring the columns to one
    length; those are taken that change the products least when the matrices are rounded to nearest.

    Args:
        weights: The matrices, float32 [outputs, inputs], and how each is to be quantized.
        hessian: The sum, or mean, of x xᵀ over the inputs x of the calibration, [inputs, inputs].
        channels: Inputs that have the same number here have the same factor, int64 [inputs]; else each has its own.
    """
    inputs = _log_sizes(np.maximum(np.diagonal(hessian), 0), channels)
    columns = np.sum([np.square(rows).sum(axis=0) for rows, _ in weights], axis=0)
    candidates = [np.exp(exponent * inputs).astype(np.float32) for exponent in _EXPONENTS]
    candidates.append(equalizing_factors(columns, channels=channels))

    def error(factors: Floats) -> float:
        rounded = ((rows, round_to_nearest(rows * factors, scheme) / factors) for rows, scheme in weights)
        return sum(output_error(rows - found, hessian) for rows, found in rounded)

    return min(candidates, key=error)


def equalizing_factors(squares: NDArray[np.floating], *, channels: NDArray[np.int64] | None = None) -> Floats:
    """Return what to multiply the columns of matrices by so that all get one length: float32 [inputs].

    Args:
        squares: The squares of the columns' lengths, [inputs].
        channels: As of `choose_factors`.
    """
    factors: Floats = np.exp(-_log_sizes(squares, channels)).astype(np.float32)
    return factors


def _log_sizes(squares: NDArray[np.floating], channels: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """Return the logarithms of what has these squares, relative to their mean; of zeros alone, zeros."""
    squares = squares.astype(np.float64)
    if channels is not None:
        squares = (np.bincount(channels, squares) / np.bincount(channels))[channels]
    sizes = np.sqrt(squares)
    if not (largest := sizes.max()) > 0:
        return np.zeros(len(sizes))
    logs = np.log(np.maximum(sizes / largest, _LEAST_SIZE))
    centred: NDArray[np.float64] = logs - logs.mean()
    return centred


def output_error(change: Floats, hessian: NDArray[np.floating]) -> float:
    """Return how much a change of a matrix, [outputs, inputs], changes its products: the sum of their squares."""
    return float(np.einsum("ij,ij->", change @ hessian, change, dtype=np.float64))
