"""What may not be generated next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from genai.sampling.processors.distribution import Logits

__all__ = [
    "ban_bad_words",
    "ban_eos",
    "ban_repeated_ngrams",
    "force_tokens",
    "ids_below",
    "suppress_tokens",
]


def suppress_tokens(logits: Logits, token_ids: Iterable[int]) -> Logits:
    """Forbid these tokens.

    >>> suppress_tokens(np.zeros(3, np.float32), [1, 7]).tolist()
    [0.0, -inf, 0.0]
    """
    result = logits.copy()
    result[..., ids_below(logits.shape[-1], token_ids)] = -np.inf
    return result


def force_tokens(logits: Logits, token_ids: Iterable[int]) -> Logits:
    """Forbid all but these tokens, which become equally likely.

    >>> force_tokens(np.ones(3, np.float32), [1]).tolist()
    [-inf, 0.0, -inf]
    """
    result = np.full_like(logits, -np.inf)
    result[..., ids_below(logits.shape[-1], token_ids)] = 0
    return result


def ban_eos(
    logits: Logits, eos_token_ids: Iterable[int], *, num_generated: int, min_new_tokens: int
) -> Logits:
    """Forbid the end of the sequence while fewer than `min_new_tokens` tokens were generated.

    >>> ban_eos(np.zeros(2, np.float32), [1], num_generated=3, min_new_tokens=4).tolist()
    [0.0, -inf]
    """
    return suppress_tokens(logits, eos_token_ids if num_generated < min_new_tokens else ())


def ban_bad_words(logits: Logits, token_ids: Sequence[int], bad_words_ids: Iterable[Sequence[int]]) -> Logits:
    """Forbid the last token of every bad word whose other tokens are the latest ones.

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens.
        bad_words_ids: Token sequences, none empty; one of a single token is always forbidden.

    >>> ban_bad_words(np.zeros(3, np.float32), [5, 0], [[0, 1], [1, 2]]).tolist()
    [0.0, -inf, 0.0]
    """
    history = tuple(token_ids)
    banned = []
    for *prefix, last in bad_words_ids:
        start = len(history) - len(prefix)
        if start >= 0 and history[start:] == tuple(prefix):
            banned.append(last)
    return suppress_tokens(logits, banned)


def ban_repeated_ngrams(logits: Logits, token_ids: Sequence[int], size: int) -> Logits:
    """Forbid the tokens that would complete an n-gram that occurred before (Paulus et al., 2017).

    Args:
        logits: float32 [..., vocab].
        token_ids: Prompt and generated tokens.
        size: The n of the n-grams, at least 1.

    >>> ban_repeated_ngrams(np.zeros(3, np.float32), [0, 1, 2, 0], 2).tolist()
    [0.0, -inf, 0.0]
    """
    prefix = tuple(token_ids[max(len(token_ids) - size + 1, 0) :])
    grams = (tuple(token_ids[i : i + size]) for i in range(len(token_ids) - size + 1))
    return suppress_tokens(logits, [gram[-1] for gram in grams if gram[:-1] == prefix])


def ids_below(vocab_size: int, token_ids: Iterable[int]) -> NDArray[np.int64]:
    """Return the ids that have a logit."""
    return np.fromiter((token_id for token_id in token_ids if token_id < vocab_size), np.int64)
