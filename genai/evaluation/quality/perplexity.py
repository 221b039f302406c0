"""Scoring tokens with one model, in bounded memory: the negative logarithm of each token's probability."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from genai.errors import GenerationError
from genai.evaluation.continuation import log_softmax
from genai.evaluation.quality.passages import Passage
from genai.generator import Generator
from genai.scoring import read_chunks

__all__ = ["Advance", "Scorer", "perplexity_of", "row_blocks", "score_tokens", "token_nlls"]

BLOCK_ELEMENTS = 1 << 20
"""Logits that are made probabilities at a time, in float64."""

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]
Advance = Callable[[int], None]
"""Told how many tokens were scored since it was told last."""


class Scorer:
    """A model that scores, with what that has cost.

    Args:
        generator: The model; it stays the caller's.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.num_scored = 0
        self.seconds = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens scored per second of the model's own time, which their contexts take part of."""
        return self.num_scored / self.seconds if self.seconds else 0.0

    def chunks(self, passage: Passage) -> Iterator[tuple[Sequence[int], Logits]]:
        """Yield the scored tokens a chunk at a time, each with the logits that expect them, float32 [chunk, vocab].

        Raises:
            GenerationError: The model failed to run.
        """

        def logits_of(token_ids: Sequence[int], num_logits: int) -> Logits:
            began = time.perf_counter()
            logits = self.generator.logits(token_ids=token_ids, num_logits=num_logits)
            self.seconds += time.perf_counter() - began
            self.num_scored += num_logits
            return logits

        return read_chunks(logits_of, passage.token_ids, num_scored=passage.num_scored)


def score_tokens(scorer: Scorer, passages: Sequence[Passage], *, advance: Advance) -> Floats:
    """Return the negative log-likelihood of every scored token, float64 [num_scored], in nats.

    Raises:
        GenerationError: The model failed to run, or gave something else than numbers.
    """
    parts = []
    for passage in passages:
        for token_ids, logits in scorer.chunks(passage):
            parts += [
                token_nlls(log_softmax(logits[rows]), token_ids[rows]) for rows in row_blocks(*logits.shape)
            ]
            advance(len(token_ids))
    return np.concatenate(parts)


def token_nlls(log_probabilities: Floats, token_ids: Sequence[int]) -> Floats:
    """Return how unlikely each token is, in nats: float64 [rows] of float64 [rows, vocab].

    Raises:
        GenerationError: It is no number.
    """
    nlls: Floats = -log_probabilities[np.arange(len(token_ids)), np.asarray(token_ids)]
    if not np.isfinite(nlls).all():
        raise GenerationError(
            "the model's logits are not finite, so it has no perplexity: `genai validate` shows more"
        )
    return nlls


def perplexity_of(mean_nll: float) -> float:
    """Return the exponential of a mean negative log-likelihood; infinity where that is more than a float holds."""
    try:
        return math.exp(mean_nll)
    except OverflowError:
        return math.inf


def row_blocks(num_rows: int, vocab_size: int) -> Iterator[slice]:
    """Yield slices of rows that are few enough to be worked on in float64 together."""
    size = max(1, BLOCK_ELEMENTS // vocab_size)
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))
