"""Log-probabilities of the raw model distribution, of single tokens and of the most likely ones."""

from __future__ import annotations

import numpy as np

from genai.errors import GenerationError
from genai.sampling.processors import Logits
from genai.sampling.selection import find_largest

__all__ = ["check_finite", "log_sum_exp", "token_logprob", "top_logprobs"]


def check_finite(logits: Logits) -> None:
    """See that the greatest of each row of logits, float32 [rows, vocab], is a number.

    Raises:
        GenerationError: It is NaN or infinite.
    """
    if not np.isfinite(logits.max(axis=1)).all():
        raise GenerationError(
            "the model's logits are NaN or infinite: the weights are damaged, or their precision overflows; validate the "
            "model folder (genai validate), or export it in fp32"
        )


def log_sum_exp(logits: Logits) -> float:
    """Return log(sum(exp(logits))) of float32 [vocab] with a finite maximum.

    >>> round(log_sum_exp(np.array([1000, 1000], np.float32)), 4)
    1000.6931
    """
    peak = logits.max()
    weights = logits - peak
    np.exp(weights, out=weights)
    return float(peak) + float(np.log(weights.sum(dtype=np.float64)))


def top_logprobs(logits: Logits, total: float, n: int) -> tuple[tuple[int, float], ...]:
    """Return the n most likely tokens with their log-probabilities.

    Args:
        logits: float32 [vocab].
        total: Their `log_sum_exp`.
        n: 0 to vocab.

    Returns:
        Pairs of id and log-probability, descending; equal ones by ascending id.

    >>> top_logprobs(np.array([0, 2, 0], np.float32), 2.0, 2)
    ((1, 0.0), (0, -2.0))
    """
    if n == 0:
        return ()
    ids, values = find_largest(logits, n)
    order = np.argsort(-values, kind="stable")[:n]
    return tuple((int(ids[i]), float(values[i]) - total) for i in order)


def token_logprob(logits: Logits, token_id: int, n: int) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Return the log-probability of a token, and the n most likely ones with theirs.

    >>> token_logprob(np.array([0, 0], np.float32), 1, 0)
    (-0.6931471805599453, ())
    """
    total = log_sum_exp(logits)
    return float(logits[token_id]) - total, top_logprobs(logits, total, n)
