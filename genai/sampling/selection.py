"""Draw a token from processed logits: temperature, filters and draw, touching the whole vocabulary as little as possible.

Equal to the functions of `processors` applied one after the other. What makes it fast: as soon as a filter bounds the
set of tokens, only that set is kept (as ids in ascending order and their scaled logits), and the sets are found by
comparing with a threshold rather than by sorting the vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genai.config import NEUTRAL_FILTERS, SAMPLERS, GenerationConfig
from genai.sampling import processors
from genai.sampling.processors import Logits

__all__ = ["Filters", "draw_index", "find_largest", "keep_surprise", "narrow", "scale", "select"]

_MIN_GROUPED = 8192  # below this many tokens a plain partition is as fast as group maxima
_NUM_GROUPS = 2048
_BLOCK = 512  # cumulative sums are taken per block first, then within one block


@dataclass(frozen=True, slots=True)
class Filters:
    """The options of a draw, with those that change nothing at their neutral values (top_k 0, the others 1 or 0).

    Args:
        order: Which of them apply, by their names among `SAMPLERS`, first to last.

    >>> Filters.of(GenerationConfig(do_sample=True, top_p=0.9)).order
    ('top_k', 'top_p')
    """

    temperature: float = 1.0
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_n_sigma: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    order: tuple[str, ...] = SAMPLERS

    @classmethod
    def of(cls, config: GenerationConfig) -> Filters:
        """Take the filters of a configuration, without those that are off."""
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(cls) if f.name != "order"}
        found = cls(**values)
        order = tuple(name for name in config.samplers or SAMPLERS if found.applies(name))
        return dataclasses.replace(found, order=order)

    def applies(self, name: str) -> bool:
        """Whether one of `SAMPLERS` changes anything."""
        if name == "temperature":
            return self.temperature != 1 or self.dynatemp_range > 0
        option = "xtc_probability" if name == "xtc" else name
        return bool(getattr(self, option) != NEUTRAL_FILTERS[option])


def select(logits: Logits, filters: Filters, uniform: float, chance: float = 1.0) -> int:
    """Draw the token that `uniform` points at in the filtered distribution.

    Args:
        logits: float32 [vocab], processed, with a finite maximum; not mutated.
        filters: Temperature and filters.
        uniform: In [0, 1).
        chance: In [0, 1); the top choices are excluded where it is below `xtc_probability`.

    >>> select(np.array([0, 3, 2], np.float32), Filters(top_k=2), 0.99)
    2
    """
    ids, scores = narrow(logits, filters, chance)
    index = draw_index(scores, uniform)
    return index if ids is None else int(ids[index])


def narrow(logits: Logits, filters: Filters, chance: float = 1.0) -> tuple[NDArray[np.int64] | None, Logits]:
    """Return what the filters leave: ids, ascending, and their scaled logits; ids of `None` are all."""
    scores = logits
    ids: NDArray[np.int64] | None = None
    for name in filters.order:
        if name == "temperature":
            scores = scale(scores, filters)
            continue
        kept = _KEEP[name](scores, filters) if name != "xtc" or chance < filters.xtc_probability else None
        if kept is not None:
            ids, scores = (kept if ids is None else ids[kept]), scores[kept]
    return ids, scores


def scale(scores: Logits, filters: Filters) -> Logits:
    """Apply the temperature, dynamic or not."""
    if filters.dynatemp_range > 0:
        return processors.apply_dynamic_temperature(
            scores, filters.temperature, filters.dynatemp_range, filters.dynatemp_exponent
        )
    return scores if filters.temperature == 1 else processors.apply_temperature(scores, filters.temperature)


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


def draw_index(scores: Logits, uniform: float) -> int:
    """Return the index at which the cumulative weight first exceeds `uniform` times the total."""
    weights = _weights(scores)
    if weights.size <= _BLOCK:  # sums in the specification's order, equal to the last bit
        sums = weights.cumsum(dtype=np.float64)
        return _first_above(sums, uniform * float(sums[-1]))
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


_Keep = Callable[[Logits, Filters], NDArray[np.int64] | None]


def _keep_top_k(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    return find_largest(scores, filters.top_k)[0] if 0 < filters.top_k < scores.size else None


def _keep_top_p(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    return _find_top_p(scores, filters.top_p) if filters.top_p < 1 else None


def _keep_min_p(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    return np.flatnonzero(_weights(scores) >= np.float32(filters.min_p)) if filters.min_p > 0 else None


def _keep_typical_p(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    if filters.typical_p >= 1:
        return None
    return np.flatnonzero(processors.keep_typical_p(scores, filters.typical_p) > -np.inf)


def _keep_epsilon(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    return _keep_likely(scores, np.float32(filters.epsilon_cutoff)) if filters.epsilon_cutoff else None


def _keep_eta(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    epsilon = filters.eta_cutoff
    return _keep_likely(scores, processors.eta_floor(scores, epsilon)[0]) if epsilon else None


def _keep_likely(scores: Logits, floor: np.float32) -> NDArray[np.int64]:
    """Return the positions of at least a probability, or of the most likely tokens."""
    kept, probabilities = _at_least(scores, float(floor))
    kept = kept[probabilities >= floor]
    return kept if kept.size else np.flatnonzero(scores == scores.max())


def _keep_top_n_sigma(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    if not filters.top_n_sigma:
        return None
    deviation = scores[scores > -1e30].std(dtype=np.float64)
    kept = np.flatnonzero(scores >= np.float32(scores.max() - filters.top_n_sigma * deviation))
    return kept[scores[kept] > -np.inf]


def _exclude_top_choices(scores: Logits, filters: Filters) -> NDArray[np.int64] | None:
    top, probabilities = _at_least(scores, filters.xtc_threshold)
    is_top = probabilities >= np.float32(filters.xtc_threshold)
    top, probabilities = top[is_top], probabilities[is_top]
    if top.size < 2:
        return None
    last = np.flatnonzero(probabilities == probabilities.min())[-1]
    is_kept = np.ones(scores.size, np.bool_)
    is_kept[np.delete(top, last)] = False
    return np.flatnonzero(is_kept)


def keep_surprise(scores: Logits, most: float) -> NDArray[np.int64]:
    """Return the positions that `processors.keep_surprise` keeps, ascending."""
    # A limit that was corrected by much may be of any size: below 0 none but the likeliest is left.
    kept, probabilities = _at_least(scores, 2.0 ** min(-most, 0.0))
    with np.errstate(divide="ignore"):
        kept = kept[-np.log2(probabilities) <= np.float32(most)]
    return kept if kept.size else np.array([scores.argmax()])


def _at_least(scores: Logits, probability: float) -> tuple[NDArray[np.int64], Logits]:
    """Return the positions of at least a probability, or a little less, ascending, and their probabilities."""
    weights = _weights(scores)
    total = np.float32(weights.sum(dtype=np.float64))
    positions = np.flatnonzero(weights >= np.float32(0.999 * probability * float(total)))
    return positions, weights[positions] / total


_KEEP: dict[str, _Keep] = {
    "top_n_sigma": _keep_top_n_sigma,
    "top_k": _keep_top_k,
    "top_p": _keep_top_p,
    "min_p": _keep_min_p,
    "typical_p": _keep_typical_p,
    "epsilon_cutoff": _keep_epsilon,
    "eta_cutoff": _keep_eta,
    "xtc": _exclude_top_choices,
}
"""For each filter, what returns the positions of a set of tokens that it keeps, ascending; None is all of them."""
