"""What reshapes and narrows the distribution of a draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genai.sampling.processors.distribution import Logits, log_softmax, softmax

__all__ = [
    "apply_temperature",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical_p",
]


def apply_temperature(logits: Logits, temperature: float) -> Logits:
    """Divide the logits by the temperature, a number above 0.

    Padded vocabularies have logits near the lowest float; these become -inf where the division overflows.

    >>> apply_temperature(np.array([1, 2], np.float32), 0.5).tolist()
    [2.0, 4.0]
    """
    with np.errstate(over="ignore"):
        result: Logits = logits / np.float32(temperature)
    return result


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Forbid all but the k most likely tokens (Fan et al., 2018); tokens equal to the k-th stay too; 0 keeps all.

    >>> keep_top_k(np.array([3, 1, 2, 2], np.float32), 2).tolist()
    [3.0, -inf, 2.0, 2.0]
    """
    vocab = logits.shape[-1]
    if not 0 < k < vocab:
        return logits.copy()
    kth = np.partition(logits, vocab - k, axis=-1)[..., vocab - k, None]
    return _forbid(logits, logits < kth)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the smallest set of most likely tokens whose probability reaches p (Holtzman et al., 2019).

    The tokens are taken in ascending order, equal ones by descending id, and removed while their probability adds up
    to no more than 1 - p; the last one always stays. So of equal tokens at the border those with lower ids stay,
    and a tiny p is greedy. (Transformers keeps as many of them, but which is up to an unstable sort.) Probabilities
    are float32, added in float64, and compared as float32.

    >>> keep_top_p(np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32)), 0.7).round(2).tolist()[2:]
    [-inf, -inf]
    """
    if p >= 1:
        return logits.copy()
    order = np.argsort(-logits, axis=-1, kind="stable")[..., ::-1]
    ascending = np.take_along_axis(softmax(logits), order, axis=-1)
    removed = ascending.cumsum(axis=-1, dtype=np.float64).astype(np.float32) <= np.float32(1 - p)
    removed[..., -1] = False
    forbidden = np.empty_like(removed)
    np.put_along_axis(forbidden, order, removed, axis=-1)
    return _forbid(logits, forbidden)


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep the tokens that are at least p times as likely as the most likely one (Nguyen et al., 2024).

    >>> keep_min_p(np.log(np.array([0.5, 0.3, 0.2], np.float32)), 0.5).round(2).tolist()[2:]
    [-inf]
    """
    return _forbid(logits, np.exp(logits - logits.max(axis=-1, keepdims=True)) < np.float32(p))


def keep_typical_p(logits: Logits, mass: float) -> Logits:
    """Keep the tokens whose information is nearest to the entropy, up to this mass (Meister et al., 2022).

    Tokens as far from the entropy as the last one kept stay too.

    >>> keep_typical_p(np.log(np.array([0.6, 0.2, 0.19, 0.01], np.float32)), 0.3).round(2).tolist()[-1]
    -inf
    """
    if mass >= 1:
        return logits.copy()
    log_p = log_softmax(logits)
    with np.errstate(invalid="ignore"):  # 0 * inf of a forbidden token, whose share of the entropy is 0
        entropy = -np.nansum(np.exp(log_p) * log_p, axis=-1, keepdims=True)
    distance = np.abs(-log_p - entropy)
    order = np.argsort(distance, axis=-1, kind="stable")
    nearest = np.take_along_axis(softmax(logits), order, axis=-1)
    cumulative = nearest.cumsum(axis=-1, dtype=np.float64).astype(np.float32)
    num_below = (cumulative < np.float32(mass)).sum(axis=-1, keepdims=True)
    last = np.take_along_axis(order, num_below.clip(max=logits.shape[-1] - 1), axis=-1)
    return _forbid(logits, distance > np.take_along_axis(distance, last, axis=-1))


def _forbid(logits: Logits, forbidden: NDArray[np.bool_]) -> Logits:
    result: Logits = np.where(forbidden, np.float32(-np.inf), logits)
    return result
