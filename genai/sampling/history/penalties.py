"""Biases and penalties, step by step."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from genai.sampling.history.processor import Stateless
from genai.sampling.processors import Logits

__all__ = ["CountPenalty", "LogitBias", "RepetitionPenalty"]


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


class RepetitionPenalty:
    """Keeps the distinct tokens seen; `_ids[:_num_ids]` are in use."""

    __slots__ = ("_ids", "_known", "_num_ids", "_penalty", "_vocab_size")
    option = "repetition_penalty"
    is_done = False

    def __init__(self, penalty: float, prompt_token_ids: Sequence[int], vocab_size: int) -> None:
        self._penalty = np.float32(penalty)
        self._vocab_size = vocab_size
        self._known = {token_id for token_id in prompt_token_ids if token_id < vocab_size}
        self._num_ids = len(self._known)
        self._ids = np.zeros(max(64, 2 * self._num_ids), np.int64)
        self._ids[: self._num_ids] = sorted(self._known)

    def apply(self, logits: Logits) -> None:
        ids = self._ids[: self._num_ids]
        seen = logits[ids]
        logits[ids] = np.where(seen < 0, seen * self._penalty, seen / self._penalty)

    def accept(self, token_id: int) -> None:
        if token_id in self._known or token_id >= self._vocab_size:
            return
        if self._num_ids == self._ids.size:
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
        self._known.add(token_id)
        self._ids[self._num_ids] = token_id
        self._num_ids += 1

    def copy(self) -> Self:
        twin = copy.copy(self)
        twin._known, twin._ids = self._known.copy(), self._ids.copy()
        return twin


class CountPenalty:
    """Presence and frequency penalties; `_ids[i]` was generated `_counts[i]` times, for i below `len(_positions)`."""

    __slots__ = ("_counts", "_frequency", "_ids", "_positions", "_presence", "_vocab_size")
    option = "presence_penalty/frequency_penalty"
    is_done = False

    def __init__(self, presence: float, frequency: float, vocab_size: int) -> None:
        self._presence, self._frequency = presence, frequency
        self._vocab_size = vocab_size
        self._positions: dict[int, int] = {}
        self._ids = np.zeros(64, np.int64)
        self._counts = np.zeros(64, np.int64)

    def apply(self, logits: Logits) -> None:
        num_ids = len(self._positions)
        penalties = self._presence + self._frequency * self._counts[:num_ids]
        logits[self._ids[:num_ids]] -= penalties.astype(np.float32)

    def accept(self, token_id: int) -> None:
        if token_id >= self._vocab_size:
            return
        position = self._positions.setdefault(token_id, len(self._positions))
        if position == self._ids.size:
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[position] = token_id
        self._counts[position] += 1

    def copy(self) -> Self:
        twin = copy.copy(self)
        twin._positions = self._positions.copy()
        twin._ids, twin._counts = self._ids.copy(), self._counts.copy()
        return twin
