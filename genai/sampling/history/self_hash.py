"""A green list that the chosen token decides on too (Kirchenbauer et al., 2023, algorithm 3): transformers' "selfhash".

Each of the likeliest tokens is tried: it is favoured if it is in the green list that it would itself be seeded with, by the
least of hashes with the tokens before it. Which those are is transformers' choice, so that its WatermarkDetector finds them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genai.config import GreenListSettings
from genai.sampling.history.green_list import green_tokens, swaps_of
from genai.sampling.processors import Logits

__all__ = ["SelfHashWatermark", "is_green"]

NUM_TRIED = 40
TABLE_SIZE = 1_000_003
MAX_KEPT = 4096
"""Of how many tokens and seeds it is kept whether they are green; copies of a watermark share them."""


class SelfHashWatermark:
    """Favours some of the likeliest tokens; a sequence that is shorter than the context is left as it is."""

    __slots__ = ("_bias", "_count", "_factors", "_hashing_key", "_kept", "_last", "_width")
    option = "watermarking_config"
    is_done = False

    def __init__(self, settings: GreenListSettings, prompt_token_ids: Sequence[int], vocab_size: int) -> None:
        self._bias = np.float32(settings.bias)
        self._hashing_key = np.int64(settings.hashing_key)
        self._count = int(vocab_size * settings.greenlist_ratio)
        self._width = settings.context_width
        self._last = tuple(prompt_token_ids[-self._width :])
        table = green_tokens(settings.hashing_key, TABLE_SIZE, min(vocab_size, TABLE_SIZE))
        self._factors = table[np.arange(vocab_size) % TABLE_SIZE] + 1
        self._kept: dict[tuple[int, int], bool] = {}

    def apply(self, logits: Logits) -> None:
        if len(self._last) < self._width:
            return
        tried = _likeliest(logits, NUM_TRIED)
        factors = self._factors[tried]
        before = self._factors[np.array(self._last[len(self._last) - self._width + 1 :], np.int64)]
        all_factors = np.vstack([np.tile(before[:, None], len(tried)), factors])
        seeds = (self._hashing_key * all_factors * factors).min(axis=0)  # wrapping, as PyTorch's do
        green = [
            self._is_green(seed, token_id, len(logits))
            for seed, token_id in zip(seeds.tolist(), tried.tolist(), strict=True)
        ]
        logits[tried[green]] += self._bias

    def accept(self, token_id: int) -> None:
        self._last = (*self._last, token_id)[-self._width :]

    def copy(self) -> Self:
        return copy.copy(self)

    def _is_green(self, seed: int, token_id: int, vocab_size: int) -> bool:
        found = self._kept.get((seed, token_id))
        if found is None:
            if len(self._kept) == MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            found = self._kept[seed, token_id] = is_green(token_id, seed, vocab_size, self._count)
        return found


def is_green(token_id: int, seed: int, vocab_size: int, count: int) -> bool:
    """Whether a token is among `green_tokens(seed, vocab_size, count)`, of which only its own way is followed.

    >>> [token_id for token_id in range(10) if is_green(token_id, 1, 10, 3)]
    [1, 5, 6]
    """
    targets = swaps_of(seed, vocab_size, count)
    place, start = token_id, 0
    while True:
        # The token stays where it is until a place before it is swapped with its own, or its own has its turn.
        hits = np.flatnonzero(targets[start : place + 1] == place)
        if len(hits):
            return True
        if place >= count:
            return False
        place, start = int(targets[place]), place + 1


def _likeliest(logits: Logits, count: int) -> NDArray[np.int64]:
    """Return the ids of the greatest logits, greatest first, equal ones by id."""
    ids = np.arange(len(logits))
    if len(logits) > count:
        least = np.partition(logits, -count)[-count]
        ids = np.flatnonzero(logits >= least)
    return ids[np.argsort(-logits[ids], kind="stable")[:count]]
