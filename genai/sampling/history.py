"""The host-side processors of one sequence, with the state that lets each step cost what changes, not what was said.

Each is the incremental form of one function of `processors`: `apply` changes the logits in place, `accept` learns of
a new token, `copy` gives a beam its own state.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.sampling.processors import Logits

__all__ = ["Constraint", "LogitsProcessor", "build_history_processors", "only_penalize"]

_MAX_BIAS = 1e30  # far above any logit, and finite in float32 after penalties and temperature


class LogitsProcessor(Protocol):
    """A processor that follows one sequence."""

    @property
    def option(self) -> str:
        """The option it carries out, for error messages."""

    @property
    def is_done(self) -> bool:
        """Whether it will change nothing any more."""

    def apply(self, logits: Logits) -> None:
        """Change float32 [vocab] in place."""

    def accept(self, token_id: int) -> None:
        """Learn of the next token of the sequence."""

    def copy(self) -> Self:
        """Return one with a state of its own."""


class Constraint(LogitsProcessor, Protocol):
    """A processor that forbids what must not follow, and sometimes leaves one token."""

    def forced_token(self) -> int | None:
        """Return the only token that it allows next, where it knows that without looking at logits."""


def build_history_processors(
    config: GenerationConfig,
    *,
    vocab_size: int,
    prompt_token_ids: Sequence[int],
    eos_token_ids: Sequence[int],
    bad_words_ids: Sequence[Sequence[int]],
) -> list[LogitsProcessor]:
    """Build the processors that a configuration asks for, in the order of `processors`.

    As in transformers, a bad word that is just an end-of-sequence token is passed over.

    Raises:
        OptionError: A biased token is outside the vocabulary, a bad word has no tokens, a bias or penalty is infinite.
    """
    _check(config, vocab_size, bad_words_ids)
    result: list[LogitsProcessor] = []
    if config.logit_bias:
        result.append(_LogitBias(config.logit_bias))
    if config.repetition_penalty != 1:
        result.append(_RepetitionPenalty(config.repetition_penalty, prompt_token_ids, vocab_size))
    if config.presence_penalty or config.frequency_penalty:
        result.append(_CountPenalty(config.presence_penalty, config.frequency_penalty, vocab_size))
    if config.no_repeat_ngram_size:
        result.append(_NgramBan(config.no_repeat_ngram_size, prompt_token_ids, vocab_size))
    bad_words = [tuple(word) for word in bad_words_ids if len(word) > 1 or word[0] not in eos_token_ids]
    if bad_words:
        result.append(_BadWordsBan(bad_words, prompt_token_ids, vocab_size))
    if config.min_new_tokens and eos_token_ids:
        result.append(_EosBan(config.min_new_tokens, eos_token_ids, vocab_size))
    if config.suppress_tokens:
        result.append(_Suppression(config.suppress_tokens, vocab_size))
    return result


def only_penalize(processors: Iterable[LogitsProcessor]) -> bool:
    """Whether none of these can forbid a token, so that where one alone is allowed it is chosen whatever they do."""
    return all(isinstance(each, (_RepetitionPenalty, _CountPenalty)) for each in processors)


def _check(config: GenerationConfig, vocab_size: int, bad_words_ids: Sequence[Sequence[int]]) -> None:
    for token_id, bias in config.logit_bias.items():
        if token_id >= vocab_size:
            raise OptionError(
                f"logit_bias names token id {token_id}, but this model has token ids 0 to {vocab_size - 1}"
            )
        if bias > _MAX_BIAS:
            raise OptionError(
                f"logit_bias of token id {token_id} must be at most {_MAX_BIAS:g} (-inf forbids it), not {bias!r}"
            )
    if not all(len(word) for word in bad_words_ids):
        raise OptionError("bad_words: a bad word has no tokens, so that it cannot be forbidden")


class _Stateless:
    """What the processors share that need no history."""

    __slots__ = ()
    is_done = False

    def accept(self, token_id: int) -> None:
        pass

    def copy(self) -> Self:
        return self


class _LogitBias(_Stateless):
    __slots__ = ("_ids", "_values")
    option = "logit_bias"

    def __init__(self, bias: Mapping[int, float]) -> None:
        self._ids = np.fromiter(bias, np.int64)
        lowest = float(np.finfo(np.float32).min)
        self._values = np.array([b if b >= lowest else -np.inf for b in bias.values()], np.float32)

    def apply(self, logits: Logits) -> None:
        logits[self._ids] += self._values


class _Suppression(_Stateless):
    __slots__ = ("_ids",)
    option = "suppress_tokens"

    def __init__(self, token_ids: Sequence[int], vocab_size: int) -> None:
        self._ids = _ids_below(vocab_size, token_ids)

    def apply(self, logits: Logits) -> None:
        logits[self._ids] = -np.inf


class _EosBan:
    __slots__ = ("_ids", "_num_left")
    option = "min_new_tokens"

    def __init__(self, min_new_tokens: int, eos_token_ids: Sequence[int], vocab_size: int) -> None:
        self._ids = _ids_below(vocab_size, eos_token_ids)
        self._num_left = min_new_tokens

    @property
    def is_done(self) -> bool:
        return self._num_left <= 0

    def apply(self, logits: Logits) -> None:
        logits[self._ids] = -np.inf

    def accept(self, token_id: int) -> None:  # noqa: ARG002 - any token counts
        self._num_left -= 1

    def copy(self) -> Self:
        return copy.copy(self)


class _RepetitionPenalty:
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


class _CountPenalty:
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


class _NgramBan:
    """Keeps, per n - 1 tokens, those that followed them, and the latest n - 1 tokens."""

    __slots__ = ("_followers", "_latest", "_size", "_vocab_size")
    option = "no_repeat_ngram_size"
    is_done = False

    def __init__(self, size: int, prompt_token_ids: Sequence[int], vocab_size: int) -> None:
        self._size = size
        self._vocab_size = vocab_size
        self._followers: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._latest: tuple[int, ...] = ()
        for token_id in prompt_token_ids:
            self.accept(token_id)

    def apply(self, logits: Logits) -> None:
        # While fewer than n - 1 tokens are known, the latest are no key.
        banned = self._followers.get(self._latest)
        if banned:
            logits[list(banned)] = -np.inf

    def accept(self, token_id: int) -> None:
        if len(self._latest) == self._size - 1:
            followers = self._followers.get(self._latest, ())
            if token_id < self._vocab_size and token_id not in followers:
                self._followers[self._latest] = (*followers, token_id)
        self._latest = (*self._latest, token_id)[-(self._size - 1) :] if self._size > 1 else ()

    def copy(self) -> Self:
        twin = copy.copy(self)
        twin._followers = self._followers.copy()
        return twin


class _BadWordsBan:
    """Keeps the latest tokens, as many as the longest bad word has before its last."""

    __slots__ = ("_latest", "_max_prefix", "_prefixed", "_single_ids")
    option = "bad_words"
    is_done = False

    def __init__(
        self, bad_words: Sequence[tuple[int, ...]], prompt_token_ids: Sequence[int], vocab_size: int
    ) -> None:
        self._single_ids = _ids_below(vocab_size, [word[0] for word in bad_words if len(word) == 1])
        self._prefixed = [(w[:-1], w[-1]) for w in bad_words if len(w) > 1 and w[-1] < vocab_size]
        self._max_prefix = max((len(prefix) for prefix, _ in self._prefixed), default=0)
        self._latest = tuple(prompt_token_ids[-self._max_prefix :]) if self._max_prefix else ()

    def apply(self, logits: Logits) -> None:
        logits[self._single_ids] = -np.inf
        for prefix, last in self._prefixed:
            if self._latest[-len(prefix) :] == prefix:
                logits[last] = -np.inf

    def accept(self, token_id: int) -> None:
        if self._max_prefix:
            self._latest = (*self._latest, token_id)[-self._max_prefix :]

    def copy(self) -> Self:
        return copy.copy(self)


def _ids_below(vocab_size: int, token_ids: Sequence[int]) -> NDArray[np.int64]:
    return np.array([token_id for token_id in token_ids if token_id < vocab_size], np.int64)
