"""Biases and penalties, step by step."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genai.sampling.history.processor import FollowsLatest, Stateless
from genai.sampling.history.token_counts import TokenCounts
from genai.sampling.processors import Logits, decay_growth
from genai.sampling.processors.bans import ids_below

__all__ = ["CountPenalty", "LengthDecay", "LogitBias", "PromptPenalty", "RepetitionPenalty", "SequenceBias"]


class LogitBias(Stateless):
    """Adds its numbers at every step."""

    __slots__ = ("_ids", "_values")
    option = "logit_bias"

    def __init__(self, bias: Mapping[int, float]) -> None:
        self._ids = np.fromiter(bias, np.int64)
        lowest = float(np.finfo(np.float32).min)
        self._values = np.array([b if b >= lowest else -np.inf for b in bias.values()], np.float32)

    def apply(self, logits: Logits) -> None:
        logits[self._ids] += self._values


class SequenceBias(FollowsLatest):
    """Keeps the latest tokens, as many as the longest sequence has before its last."""

    __slots__ = ("_bias",)
    option = "sequence_bias"

    def __init__(self, bias: Mapping[tuple[int, ...], float], prompt_token_ids: Sequence[int]) -> None:
        self._bias = [
            (ids[:-1], ids[-1], np.float32(value))
            for ids, value in sorted(bias.items(), key=lambda item: len(item[0]))
        ]
        super().__init__(len(self._bias[-1][0]), prompt_token_ids)

    def apply(self, logits: Logits) -> None:
        added: dict[int, np.float32] = {}
        for prefix, last, value in self._bias:
            if self._has_latest(prefix):
                added[last] = added.get(last, np.float32(0)) + value
        logits[list(added)] += np.array(list(added.values()), np.float32)


class PromptPenalty(Stateless):
    """Rewards or penalizes the prompt's tokens: the inverse of a repetition penalty on them."""

    __slots__ = ("_ids", "_penalty")
    option = "encoder_repetition_penalty"

    def __init__(self, penalty: float, prompt_token_ids: Sequence[int], vocab_size: int) -> None:
        self._ids = ids_below(vocab_size, sorted(set(prompt_token_ids)))
        self._penalty = np.float32(1 / penalty)

    def apply(self, logits: Logits) -> None:
        _penalize(logits, self._ids, self._penalty)


def _penalize(logits: Logits, ids: NDArray[np.int64], penalty: np.float32) -> None:
    seen = logits[ids]
    logits[ids] = np.where(seen < 0, seen * penalty, seen / penalty)


class _Counting:
    """What the penalties share that follow the tokens of a window."""

    __slots__ = ("_counts",)
    is_done = False

    def __init__(self, vocab_size: int, last_n: int | None) -> None:
        self._counts = TokenCounts(vocab_size, last_n)

    def accept(self, token_id: int) -> None:
        self._counts.add(token_id)

    def copy(self) -> Self:
        twin = copy.copy(self)
        twin._counts = self._counts.copy()
        return twin


class RepetitionPenalty(_Counting):
    """Follows the distinct tokens of the window."""

    __slots__ = ("_penalty",)
    option = "repetition_penalty"

    def __init__(
        self, penalty: float, prompt_token_ids: Sequence[int], vocab_size: int, last_n: int | None = None
    ) -> None:
        super().__init__(vocab_size, last_n)
        self._penalty = np.float32(penalty)
        for token_id in prompt_token_ids if last_n is None else prompt_token_ids[-last_n:]:
            self._counts.add(token_id)

    def apply(self, logits: Logits) -> None:
        _penalize(logits, self._counts.ids, self._penalty)


class CountPenalty(_Counting):
    """Presence and frequency penalties on the generated tokens of the window."""

    __slots__ = ("_frequency", "_presence")
    option = "presence_penalty/frequency_penalty"

    def __init__(self, presence: float, frequency: float, vocab_size: int, last_n: int | None = None) -> None:
        super().__init__(vocab_size, last_n)
        self._presence, self._frequency = presence, frequency

    def apply(self, logits: Logits) -> None:
        penalties = self._presence + self._frequency * self._counts.counts
        logits[self._counts.ids] -= penalties.astype(np.float32)


class LengthDecay:
    """Counts the tokens, after some of which the end becomes likelier with each."""

    __slots__ = ("_factor", "_ids", "_num_after")
    option = "exponential_decay_length_penalty"
    is_done = False

    def __init__(self, start: int, factor: float, eos_token_ids: Sequence[int], vocab_size: int) -> None:
        self._num_after = -start
        self._factor = factor
        self._ids = ids_below(vocab_size, eos_token_ids)

    def apply(self, logits: Logits) -> None:
        if self._num_after > 0:
            ends = logits[self._ids]
            sizes = np.abs(np.where(np.isfinite(ends), ends, 0))
            logits[self._ids] = ends + sizes * decay_growth(self._num_after, self._factor)

    def accept(self, token_id: int) -> None:  # noqa: ARG002 - any token counts
        self._num_after += 1

    def copy(self) -> Self:
        return copy.copy(self)
