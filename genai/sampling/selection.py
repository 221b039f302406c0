"""Draw a token from processed logits: temperature, filters and draw, touching the whole vocabulary as little as possible.

Equal to the functions of `processors` applied one after the other. What makes it fast: as soon as a filter bounds the
set of tokens, only that set is kept (as ids in ascending order and their scaled logits), and the sets are found by
comparing with a threshold rather than by sorting the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genai.config import GenerationConfig
from genai.sampling import processors
from genai.sampling.processors import Logits

__all__ = ["Filters", "find_largest", "select"]

_MIN_GROUPED = 8192  # below this many tokens a plain partition is as fast as group maxima
_NUM_GROUPS = 2048
_BLOCK = 512  # cumulative sums are taken per block first, then within one block


@dataclass(frozen=True, slots=True)
class Filters:
    """The options of a draw, with those that change nothing at their neutral values (top_k 0, the others 1 or 0).

    >>> Filters.of(GenerationConfig(do_sample=True, top_p=0.9))
    Filters(temperature=1.0, top_k=50, top_p=0.9, min_p=0.0, typical_p=1.0)
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0

    @classmethod
    def of(cls, config: GenerationConfig) -> Filters:
        """Take the filters of a configuration."""
        return cls(config.temperature, config.top_k, config.top_p, config.min_p, config.typical_p)


def select(logits: Logits, filters: Filters, uniform: float) -> int:
    """Draw the token that `uniform` points at in the filtered distribution.

    Args:
        logits: float32 [vocab], processed, with a finite maximum; not mutated.
        filters: Temperature and filters.
        uniform: In [0, 1).

    >>> select(np.array([0, 3, 2], np.float32), Filters(top_k=2), 0.99)
    2
    """
    scores = logits
    if filters.temperature != 1:
        scores = processors.apply_temperature(logits, filters.temperature)
    ids: NDArray[np.int64] | None = None
    if 0 < filters.top_k < scores.size:
        ids, scores = find_largest(scores, filters.top_k)
    if filters.top_p < 1:
        ids, scores = _narrow(ids, scores, _find_top_p(scores, filters.top_p))
    if filters.min_p > 0:
        ids, scores = _narrow(ids, scores, np.flatnonzero(_weights(scores) >= np.float32(filters.min_p)))
    if filters.typical_p < 1:
        kept = processors.keep_typical_p(scores, filters.typical_p)
        ids, scores = _narrow(ids, scores, np.flatnonzero(kept > -np.inf))
    index = _draw(scores, uniform)
    return index if ids is None else int(ids[index])


def _narrow(
    ids: NDArray[np.int64] | None, scores: Logits, kept: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Logits]:
    """Keep these positions of a set of tokens; `None` stands for all ids of the vocabulary."""
    return kept if ids is None else ids[kept], scores[kept]


def find_largest(scores: Logits, k: int) -> tuple[NDArray[np.int64], Logits]:
    """Return ids and scores of the k largest of float32 [vocab], ties with the k-th included, in order of ids.

    >>> find_largest(np.array([1, 3, 2, 2], np.float32), 2)[0].tolist()
    [1, 2, 3]
    """
    bound = _lower_bound_of_kth(scores, k)
    ids = np.flatnonzero(scores >= bound)
    scores = scores[ids]
    if ids.size > k:
        kept = np.flatnonzero(scores >= np.partition(scores, ids.size - k)[ids.size - k])
        ids, scores = ids[kept], scores[kept]
    return ids, scores


def _lower_bound_of_kth(scores: Logits, k: int) -> np.float32:
    """Return a number that at least k scores reach, and few more do.

    The k-th largest of the maxima of disjoint groups is one: k groups hold a score at least as large.
    """
    if scores.size < _MIN_GROUPED or k > _NUM_GROUPS // 4:
        return np.float32(np.partition(scores, scores.size - k)[scores.size - k])
    size = scores.size // _NUM_GROUPS
    maxima = scores[: size * _NUM_GROUPS].reshape(size, _NUM_GROUPS).max(axis=0)
    return np.float32(np.partition(maxima, _NUM_GROUPS - k)[_NUM_GROUPS - k])


def _find_top_p(scores: Logits, p: float) -> NDArray[np.int64]:
    """Return the positions that top_p keeps, ascending.

    Tokens less likely than (1 - p) / n are all removed, since n of them add up to less than 1 - p; only the rest
    is sorted. Its values are sorted without their positions (several times faster): the smallest value kept, and how
    many equal to it are removed, say which positions stay.
    """
    peak = scores.max()
    probabilities = scores - peak
    np.exp(probabilities, out=probabilities)
    total = np.float32(probabilities.sum(dtype=np.float64))
    probabilities /= total
    tail = np.float32(1 - p)
    candidates = np.flatnonzero(probabilities >= 0.999 * float(tail) / scores.size)
    values = scores[candidates]
    ascending = np.sort(values)
    candidate_probabilities = np.exp(ascending - peak) / total
    rest = 0.0
    if candidates.size < scores.size:
        rest = float(probabilities.sum(dtype=np.float64) - candidate_probabilities.sum(dtype=np.float64))
    num_removed = _count_within(candidate_probabilities, tail, rest)
    smallest = ascending[num_removed]
    num_ties_removed = num_removed - int(ascending.searchsorted(smallest, side="left"))
    kept = np.flatnonzero(values >= smallest)
    if num_ties_removed:
        kept = np.delete(kept, np.flatnonzero(values[kept] == smallest)[-num_ties_removed:])
    return candidates[kept]


def _count_within(probabilities: Logits, tail: np.float32, rest: float) -> int:
    """Return how many leading tokens add up, with the rest, to no more than the tail; at most all but one."""
    sums = rest + _block_sums(probabilities)
    block = min(int(sums.astype(np.float32).searchsorted(tail, side="right")), sums.size - 1)
    before = sums[block - 1] if block else rest
    start = block * _BLOCK
    within = before + probabilities[start : start + _BLOCK].cumsum(dtype=np.float64)
    count = start + int(within.astype(np.float32).searchsorted(tail, side="right"))
    return min(count, probabilities.size - 1)


def _draw(scores: Logits, uniform: float) -> int:
    """Return the index at which the cumulative weight first exceeds `uniform` times the total."""
    weights = _weights(scores)
    sums = _block_sums(weights)
    target = uniform * float(sums[-1])
    block = _first_above(sums, target)
    before = float(sums[block - 1]) if block else 0.0
    start = block * _BLOCK
    within = weights[start : start + _BLOCK].cumsum(dtype=np.float64)
    return start + _first_above(within, target - before)


def _weights(scores: Logits) -> Logits:
    """Return exp(score - max), the probabilities up to their sum."""
    weights: Logits = scores - scores.max()
    return np.exp(weights, out=weights)


def _block_sums(weights: Logits) -> NDArray[np.float64]:
    """Return the cumulative sums at the ends of the blocks: summing up one block more finds any position."""
    if weights.size <= _BLOCK:
        return np.array([weights.sum(dtype=np.float64)])
    sums: NDArray[np.float64] = np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK), dtype=np.float64)
    return sums.cumsum()


def _first_above(cumulative: NDArray[np.float64], target: float) -> int:
    """Return the first index whose sum exceeds the target, at most the last one that adds to the sum."""
    above = cumulative.searchsorted(target, side="right")
    return int(min(above, cumulative.searchsorted(cumulative[-1], side="left")))
