"""How likely a model finds given tokens, in bounded memory: logits come a chunk of positions at a time and are reduced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genai.sampling import check_finite, token_logprob

__all__ = ["LogitsOf", "TokenScores", "read_chunks", "score_tokens"]

CHUNK = 64
"""Positions whose logits are in memory at a time: with a vocabulary of 262,144, 67 MB."""

Logits = npt.NDArray[np.float32]
LogitsOf = Callable[[Sequence[int], int], Logits]
"""Returns the logits at the last so many of these tokens, float32 [num_logits, vocab]."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """How likely a model finds a text.

    Args:
        token_ids: The tokens that were scored: all but the first, or those after the context.
        logprobs: The log-probability of each, given all tokens before it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        """The log-probability of all of them together."""
        return math.fsum(self.logprobs)

    @property
    def perplexity(self) -> float:
        """The inverse of their probability's geometric mean.

        >>> round(TokenScores((5, 6), (-1.0, -3.0)).perplexity, 3)
        7.389
        """
        return math.exp(-self.total / len(self.logprobs))


def score_tokens(logits_of: LogitsOf, token_ids: Sequence[int], *, num_scored: int) -> TokenScores:
    """Return the log-probabilities of the last `num_scored` tokens; at most one less than there are.

    Raises:
        GenerationError: The model failed to run, or its logits are not finite.
    """
    logprobs: list[float] = []
    for chunk, logits in read_chunks(logits_of, token_ids, num_scored=num_scored):
        check_finite(logits)
        logprobs += [token_logprob(row, token_id, 0)[0] for token_id, row in zip(chunk, logits, strict=True)]
    return TokenScores(tuple(token_ids[len(token_ids) - num_scored :]), tuple(logprobs))


def read_chunks(
    logits_of: LogitsOf, token_ids: Sequence[int], *, num_scored: int
) -> Iterator[tuple[Sequence[int], Logits]]:
    """Yield the last `num_scored` tokens a chunk at a time, each with the logits that expect them, float32 [chunk, vocab].

    A chunk goes on from what the cache holds of the tokens before it, so nothing is computed twice.
    """
    for start in range(len(token_ids) - num_scored, len(token_ids), CHUNK):
        end = min(start + CHUNK, len(token_ids))
        yield token_ids[start:end], logits_of(token_ids[: end - 1], end - start)
