"""A green list: after each token a share of the vocabulary is favoured (Kirchenbauer et al., 2023, algorithm 2).

Which tokens these are is transformers' choice, so that its WatermarkDetector finds them: the beginning of the permutation
of the vocabulary that PyTorch draws on a CPU, with the generator MT19937, seeded with the secret times the last token.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genai.config import GreenListSettings
from genai.sampling.processors import Logits

__all__ = ["GreenListWatermark", "green_tokens", "swaps_of"]

MAX_KEPT = 256
"""Of how many last tokens the favoured ones are kept; copies of a watermark share them."""


class GreenListWatermark:
    """Favours tokens after the last one; a sequence that is shorter than the context is left as it is."""

    __slots__ = ("_bias", "_count", "_hashing_key", "_kept", "_last", "_num_missing", "_vocab_size")
    option = "watermarking_config"
    is_done = False

    def __init__(self, settings: GreenListSettings, prompt_token_ids: Sequence[int], vocab_size: int) -> None:
        self._bias = np.float32(settings.bias)
        self._hashing_key = settings.hashing_key
        self._count = int(vocab_size * settings.greenlist_ratio)
        self._vocab_size = vocab_size
        self._last = prompt_token_ids[-1] if prompt_token_ids else 0
        self._num_missing = settings.context_width - len(prompt_token_ids)
        self._kept: dict[int, NDArray[np.int64]] = {}

    def apply(self, logits: Logits) -> None:
        if self._num_missing > 0:
            return
        green = self._kept.get(self._last)
        if green is None:
            if len(self._kept) == MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            seed = self._hashing_key * self._last
            green = self._kept[self._last] = green_tokens(seed, self._vocab_size, self._count)
        logits[green] += self._bias

    def accept(self, token_id: int) -> None:
        self._last = token_id
        self._num_missing -= 1

    def copy(self) -> Self:
        return copy.copy(self)


def green_tokens(seed: int, vocab_size: int, count: int) -> NDArray[np.int64]:
    """Return the first `count` numbers of torch.randperm(vocab_size) after manual_seed(seed).

    >>> green_tokens(1, 10, 3).tolist()
    [5, 6, 1]
    """
    order = list(range(vocab_size))
    for place, target in enumerate(swaps_of(seed, vocab_size, count).tolist()):
        order[place], order[target] = order[target], order[place]
    return np.array(order[:count], np.int64)


def swaps_of(seed: int, vocab_size: int, count: int) -> NDArray[np.int64]:
    """Return with which place each of the first `count` is swapped, in turn, by torch.randperm after manual_seed(seed)."""
    seed %= 2**64 - 1
    numbers = np.random.RandomState(seed % 2**32).randint(0, 2**32, count, np.uint32).astype(np.int64)
    return np.arange(count) + numbers % (vocab_size - np.arange(count))
