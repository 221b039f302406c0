"""What may not come next, step by step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np

from genai.sampling.history.processor import FollowsLatest, Stateless
from genai.sampling.processors import Logits
from genai.sampling.processors.bans import ids_below

__all__ = ["BadWordsBan", "BeginSuppression", "EosBan", "Forcing", "NgramBan", "Suppression"]


class Suppression(Stateless):
    """Forbids some tokens everywhere."""

    __slots__ = ("_ids",)
    option = "suppress_tokens"

    def __init__(self, token_ids: Sequence[int], vocab_size: int) -> None:
        self._ids = ids_below(vocab_size, token_ids)

    def apply(self, logits: Logits) -> None:
        logits[self._ids] = -np.inf


class _Countdown:
    """What the bans share that count tokens down to the position that they are about."""

    __slots__ = ("_ids", "_num_left")

    def __init__(self, token_ids: Sequence[int], num_left: int, vocab_size: int) -> None:
        self._ids = ids_below(vocab_size, token_ids)
        self._num_left = num_left

    @property
    def is_done(self) -> bool:
        return self._num_left < 0

    def accept(self, token_id: int) -> None:  # noqa: ARG002 - any token counts
        self._num_left -= 1

    def copy(self) -> Self:
        return copy.copy(self)


class EosBan(_Countdown):
    """Forbids the end of a sequence at the positions before one."""

    __slots__ = ()
    option = "min_new_tokens"

    def __init__(self, min_new_tokens: int, eos_token_ids: Sequence[int], vocab_size: int) -> None:
        super().__init__(eos_token_ids, min_new_tokens - 1, vocab_size)

    def apply(self, logits: Logits) -> None:
        logits[self._ids] = -np.inf


class BeginSuppression(_Countdown):
    """Forbids some tokens at one position: the first, or the one after a token that is forced."""

    __slots__ = ()
    option = "begin_suppress_tokens"

    def apply(self, logits: Logits) -> None:
        if self._num_left == 0:
            logits[self._ids] = -np.inf


class Forcing(_Countdown):
    """Forbids all but some tokens at one position, counted from the first generated one.

    Args:
        option: Who asks for it.
        token_ids: The tokens.
        position: The position.
        vocab_size: Number of logits.
    """

    __slots__ = ("option",)

    def __init__(self, option: str, token_ids: Sequence[int], position: int, vocab_size: int) -> None:
        super().__init__(token_ids, position, vocab_size)
        self.option = option

    def apply(self, logits: Logits) -> None:
        if self._num_left == 0:
            logits.fill(-np.inf)
            logits[self._ids] = 0


class NgramBan(FollowsLatest):
    """Keeps, per n - 1 tokens, those that followed them, and the latest n - 1 tokens."""

    __slots__ = ("_followers", "_vocab_size")
    option = "no_repeat_ngram_size"

    def __init__(self, size: int, prompt_token_ids: Sequence[int], vocab_size: int) -> None:
        super().__init__(size - 1, ())
        self._vocab_size = vocab_size
        self._followers: dict[tuple[int, ...], tuple[int, ...]] = {}
        for token_id in prompt_token_ids:
            self.accept(token_id)

    def apply(self, logits: Logits) -> None:
        # While fewer than n - 1 tokens are known, the latest are no key.
        banned = self._followers.get(self._latest)
        if banned:
            logits[list(banned)] = -np.inf

    def accept(self, token_id: int) -> None:
        if len(self._latest) == self._num_kept:
            followers = self._followers.get(self._latest, ())
            if token_id < self._vocab_size and token_id not in followers:
                self._followers[self._latest] = (*followers, token_id)
        super().accept(token_id)

    def copy(self) -> Self:
        twin = super().copy()
        twin._followers = self._followers.copy()
        return twin


class BadWordsBan(FollowsLatest):
    """Keeps the latest tokens, as many as the longest bad word has before its last."""

    __slots__ = ("_prefixed", "_single_ids")
    option = "bad_words"

    def __init__(
        self, bad_words: Sequence[tuple[int, ...]], prompt_token_ids: Sequence[int], vocab_size: int
    ) -> None:
        self._single_ids = ids_below(vocab_size, [word[0] for word in bad_words if len(word) == 1])
        self._prefixed = [(w[:-1], w[-1]) for w in bad_words if len(w) > 1 and w[-1] < vocab_size]
        super().__init__(max((len(prefix) for prefix, _ in self._prefixed), default=0), prompt_token_ids)

    def apply(self, logits: Logits) -> None:
        logits[self._single_ids] = -np.inf
        for prefix, last in self._prefixed:
            if self._has_latest(prefix):
                logits[last] = -np.inf
