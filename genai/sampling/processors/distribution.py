"""What logits stand for: probabilities, and the token that a uniform number points at."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Logits",
    "draw",
    "log_softmax",
    "softmax",
]

Logits: TypeAlias = NDArray[np.float32]
"""`float32 [..., vocab]`."""


def softmax(logits: Logits) -> Logits:
    """Return the probabilities over the last axis; a logit of -inf has probability 0.

    The sum is taken in float64 and rounded, so that leaving tokens of probability 0 out changes nothing.

    >>> softmax(np.array([0, 0, -np.inf], np.float32)).tolist()
    [0.5, 0.5, 0.0]
    """
    weights: Logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)
    return weights


def log_softmax(logits: Logits) -> Logits:
    """Return the log-probabilities over the last axis, stable for logits of any size; -inf stays -inf.

    >>> log_softmax(np.array([1000, 1000], np.float32)).round(4).tolist()
    [-0.6930999755859375, -0.6930999755859375]
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Logits = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(
        np.float32
    )
    return result


def draw(logits: NDArray[np.float32], uniform: float) -> int:
    """Return the token at which the cumulative probability, in order of token ids, first exceeds `uniform`.

    The weights `exp(logit - max)` are float32, their cumulative sums and the product `uniform * total` float64.
    Where rounding takes that product up to the total, the last token of a weight above 0 is drawn, so that a
    forbidden token never is.

    Args:
        logits: float32 [vocab], after all filters.
        uniform: In [0, 1).

    >>> draw(np.log(np.array([0.5, 0.25, 0.25], np.float32)), 0.6)
    1
    """
    cumulative = np.exp(logits - logits.max()).cumsum(dtype=np.float64)
    total = cumulative[-1]
    return int(np.argmax((cumulative > uniform * total) | (cumulative == total)))
