"""DRY, "don't repeat yourself": a penalty on the token that would carry on a repetition (by p-e-w, 2024).

Where the latest tokens occurred before, the token that followed them then is less likely by
`multiplier * base ** (n - allowed_length)`, n being how many of the latest tokens occurred in a row. Semantics are those
of llama.cpp's sampler, with one simplification: of sequence breakers that overlap, the one that ended last counts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from genai.sampling.processors.distribution import Logits

__all__ = ["max_dry_exponent", "penalize_dry"]

_LOG_OF_GREATEST_FLOAT = 88.7228391


def penalize_dry(
    logits: Logits,
    token_ids: Sequence[int],
    *,
    multiplier: float,
    base: float,
    allowed_length: int,
    last_n: int | None = None,
    breakers: Collection[Sequence[int]] = (),
) -> Logits:
    """Subtract from the logits of the tokens that would carry on a repetition of more than the allowed length.

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens.
        multiplier: The penalty on the shortest repetition that is not allowed.
        base: What every further token of it multiplies the penalty by, at least 1.
        allowed_length: How many tokens may be repeated without a penalty, at least 1.
        last_n: At how many of the latest tokens to look; `None` is all.
        breakers: Token sequences that no repetition reaches across; a single one is never penalized itself.

    >>> penalize_dry(
    ...     np.zeros(4, np.float32), [0, 1, 2, 0, 1], multiplier=1.0, base=1.5, allowed_length=2
    ... ).tolist()
    [0.0, 0.0, -1.0, 0.0]
    """
    result = logits.copy()
    start = 0 if last_n is None else max(len(token_ids) - last_n, 0)
    window = list(token_ids[start:])
    longest = _tokens_since(list(token_ids), breakers)
    repeated: dict[int, int] = {}
    for end in range(1, len(window)):
        length = 0
        while length < min(end, longest) and window[end - 1 - length] == window[-1 - length]:
            length += 1
        repeated[window[end]] = max(repeated.get(window[end], 0), length)
    for token_id, length in repeated.items():
        if length >= allowed_length and (token_id,) not in {tuple(b) for b in breakers}:
            exponent = min(length - allowed_length, max_dry_exponent(base))
            if token_id < logits.shape[-1]:
                result[..., token_id] -= np.float32(multiplier * base**exponent)
    return result


def max_dry_exponent(base: float) -> int:
    """Return the greatest exponent that keeps the penalty within float32.

    >>> max_dry_exponent(2.0)
    127
    """
    return int(_LOG_OF_GREATEST_FLOAT / math.log(base)) if base > 1.000001 else 0


def _tokens_since(token_ids: list[int], breakers: Collection[Sequence[int]]) -> int:
    """Return how many tokens follow the last breaker."""
    for end in range(len(token_ids), 0, -1):
        if any(token_ids[max(end - len(breaker), 0) : end] == list(breaker) for breaker in breakers):
            return len(token_ids) - end
    return len(token_ids)
