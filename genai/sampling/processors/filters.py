"""What reshapes and narrows the distribution of a draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genai.config import LEAST_TEMPERATURE
from genai.sampling.processors.distribution import Logits, log_softmax, softmax

__all__ = [
    "apply_dynamic_temperature",
    "apply_temperature",
    "entropy",
    "eta_floor",
    "exclude_top_choices",
    "keep_epsilon",
    "keep_eta",
    "keep_min_p",
    "keep_surprise",
    "keep_top_k",
    "keep_top_n_sigma",
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


def apply_dynamic_temperature(logits: Logits, temperature: float, spread: float, exponent: float) -> Logits:
    """Divide the logits by a temperature that grows with their entropy, as llama.cpp's dynamic temperature does.

    It is `temperature - spread` where one token is certain and `temperature + spread` where all are equally likely;
    in between, the entropy's share of its greatest value, to the power of `exponent`, says how far. Tokens that are
    forbidden do not count among those that could be likely. At least 1e-5, where only the most likely tokens are left.

    Args:
        logits: float32 [..., vocab].
        temperature: The middle of the range, above 0.
        spread: Half the range; what would fall below 0 is 0.
        exponent: Above 1 the temperature grows late, below 1 early.

    >>> apply_dynamic_temperature(np.zeros(2, np.float32) + 3, 1.0, 0.5, 1.0).tolist()
    [2.0, 2.0]
    """
    num_possible = (logits > -np.inf).sum(axis=-1, keepdims=True)
    greatest = np.log(np.maximum(num_possible, 2))
    share = np.power(np.clip(entropy(logits) / greatest, 0, 1), np.float64(exponent))
    low, high = max(temperature - spread, 0.0), temperature + spread
    temperatures = np.where(num_possible > 1, low + (high - low) * share, 1.0)
    divisors: Logits = np.maximum(temperatures, LEAST_TEMPERATURE).astype(np.float32)
    with np.errstate(over="ignore"):
        result: Logits = logits / divisors
    return result


def keep_top_n_sigma(logits: Logits, n: float) -> Logits:
    """Keep the tokens whose logit is at most n standard deviations below the greatest (Tang et al., 2024).

    The deviation is that of the logits that are not forbidden, to which padding below -1e30 does not belong. The
    temperature changes nothing about what stays.

    >>> keep_top_n_sigma(np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32)), 1.0).round(2).tolist()[:2]
    [-inf, -inf]
    """
    counts = logits > -1e30
    deviation = logits.std(axis=-1, keepdims=True, dtype=np.float64, where=counts)
    return _forbid(logits, logits < (logits.max(axis=-1, keepdims=True) - n * deviation).astype(np.float32))


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
        shares = np.exp(log_p) * log_p
    entropy = -np.nansum(shares, axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)
    distance = np.abs(-log_p - entropy)
    order = np.argsort(distance, axis=-1, kind="stable")
    nearest = np.take_along_axis(softmax(logits), order, axis=-1)
    cumulative = nearest.cumsum(axis=-1, dtype=np.float64).astype(np.float32)
    num_below = (cumulative < np.float32(mass)).sum(axis=-1, keepdims=True)
    last = np.take_along_axis(order, num_below.clip(max=logits.shape[-1] - 1), axis=-1)
    return _forbid(logits, distance > np.take_along_axis(distance, last, axis=-1))


def keep_epsilon(logits: Logits, epsilon: float) -> Logits:
    """Keep the tokens of at least this probability, and the most likely ones (Hewitt et al., 2022).

    >>> keep_epsilon(np.log(np.array([0.5, 0.3, 0.2], np.float32)), 0.25).round(2).tolist()[2:]
    [-inf]
    """
    peak = logits.max(axis=-1, keepdims=True)
    return _forbid(logits, (softmax(logits) < np.float32(epsilon)) & (logits < peak))


def keep_eta(logits: Logits, epsilon: float) -> Logits:
    """Keep the tokens of at least the probability min(epsilon, sqrt(epsilon) * exp(-entropy)) (Hewitt et al., 2022).

    So where nothing is certain less likely tokens stay, too; the most likely ones always do.

    >>> keep_eta(np.log(np.array([0.5, 0.3, 0.2], np.float32)), 0.5).round(2).tolist()[2:]
    [-inf]
    """
    rare = softmax(logits) < eta_floor(logits, epsilon)
    return _forbid(logits, rare & (logits < logits.max(axis=-1, keepdims=True)))


def eta_floor(logits: Logits, epsilon: float) -> Logits:
    """Return the least probability that `keep_eta` keeps, float32 [..., 1]."""
    floor: Logits = np.minimum(epsilon, np.sqrt(epsilon) * np.exp(-entropy(logits))).astype(np.float32)
    return floor


def exclude_top_choices(logits: Logits, threshold: float) -> Logits:
    """Forbid all tokens of at least this probability but the least likely one of them (XTC, by p-e-w, 2024).

    Of equal ones the last is the least likely. Where fewer than two reach the threshold nothing changes. Whether XTC
    applies to a token at all is drawn by the caller.

    >>> exclude_top_choices(np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32)), 0.19).round(2).tolist()[:2]
    [-inf, -inf]
    """
    probabilities = softmax(logits)
    is_top = probabilities >= np.float32(threshold)
    least = np.where(is_top, probabilities, np.float32(np.inf)).min(axis=-1, keepdims=True)
    is_least = is_top & (probabilities == least)
    last = logits.shape[-1] - 1 - np.argmax(is_least[..., ::-1], axis=-1)[..., None]
    is_top &= np.arange(logits.shape[-1]) != last
    return _forbid(logits, is_top)


def keep_surprise(logits: Logits, most: float) -> Logits:
    """Keep the tokens of at most this surprise, -log2 of their probability, and the most likely one (Basu et al., 2021).

    The filter of mirostat 2, whose limit follows what was drawn before. Of tokens that are equally likely, and too
    surprising, the first stays.

    >>> keep_surprise(np.log(np.array([0.5, 0.3, 0.2], np.float32)), 2.0).round(2).tolist()[2:]
    [-inf]
    """
    with np.errstate(divide="ignore"):
        surprising = -np.log2(softmax(logits)) > np.float32(most)
    np.put_along_axis(surprising, logits.argmax(axis=-1)[..., None], False, axis=-1)
    return _forbid(logits, surprising)


def entropy(logits: Logits) -> NDArray[np.float64]:
    """Return the entropy of the distribution, in nats, float64 [..., 1].

    >>> entropy(np.array([0, 0, -np.inf], np.float32)).round(4).tolist()
    [0.6931]
    """
    shifted = np.maximum(
        logits - logits.max(axis=-1, keepdims=True), np.float32(-1e30)
    )  # 0 times -inf is none
    weights = np.exp(shifted)
    total = weights.sum(axis=-1, keepdims=True, dtype=np.float64)
    shifted *= weights
    return np.asarray(np.log(total) - shifted.sum(axis=-1, keepdims=True, dtype=np.float64) / total)


def _forbid(logits: Logits, forbidden: NDArray[np.bool_]) -> Logits:
    result: Logits = np.where(forbidden, np.float32(-np.inf), logits)
    return result
