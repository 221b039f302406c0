"""SynthID-Text (Dathathri et al., 2024): a draw becomes a tournament, whose rounds a secret judges.

Made as transformers makes it, so that its detectors find the mark. In each round every token has a bit, hashed from the
latest tokens, the token itself and the round's key; tokens whose bit is 1 gain probability from the others, in expectation
over keys nothing. The latest tokens are generated ones; before there are enough of them, zeros stand in their place.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genai.config import SynthIDSettings
from genai.sampling.processors import Logits, softmax

__all__ = ["SynthIDWatermark"]

_MULTIPLIER = 6364136223846793005


class SynthIDWatermark:
    """Keeps the latest tokens, and hashes of those before them: what repeats is not marked again."""

    __slots__ = ("_context", "_keys", "_num_skipped", "_seen", "_table")
    option = "watermarking_config"
    is_done = False

    def __init__(self, settings: SynthIDSettings) -> None:
        self._keys = settings.keys
        self._context: tuple[int, ...] = (0,) * (settings.ngram_len - 1)
        self._num_skipped = settings.ngram_len - 1 if settings.skip_first_ngram_calls else 0
        self._seen: deque[int] = deque(maxlen=settings.context_history_size)
        # torch.randint(0, 2, ...) on a CPU
        random = np.random.RandomState(settings.sampling_table_seed % 2**32)
        self._table = (random.randint(0, 2**32, settings.sampling_table_size, np.uint32) % 2).astype(
            np.float32
        )

    def apply(self, logits: Logits) -> None:
        if self._num_skipped > 0:
            return
        context = int(_hash(np.int64(1), self._context))
        if context in self._seen:
            return
        ids = np.flatnonzero(logits > -np.inf)
        hashes = _hash(np.int64(context), [ids])
        probabilities = softmax(logits[ids])
        for key in self._keys:
            bits = self._table[_hash(hashes, [key]) % self._table.size]
            share = np.float32((bits * probabilities).sum(dtype=np.float64))
            probabilities *= 1 + bits - share
        with np.errstate(divide="ignore"):
            logits[ids] = np.log(np.maximum(probabilities, 0))

    def accept(self, token_id: int) -> None:
        if self._num_skipped > 0:
            self._num_skipped -= 1
        else:
            self._seen.append(int(_hash(np.int64(1), self._context)))
        self._context = (*self._context, token_id)[1:]

    def copy(self) -> Self:
        twin = copy.copy(self)
        twin._seen = self._seen.copy()
        return twin


def _hash(
    start: np.int64 | NDArray[np.int64], data: Sequence[int | NDArray[np.int64]]
) -> np.int64 | NDArray[np.int64]:
    """Return hashes that go on from others with some data, in integers of 64 bits that wrap around."""
    with np.errstate(over="ignore"):
        for each in data:
            start = (start + np.asarray(each, np.int64)) * np.int64(_MULTIPLIER) + np.int64(1)
    return start
