"""A draft model: a small one with the same vocabulary writes ahead, and the large one reads along.

Its cache is kept in step with each sequence: what was guessed wrong is cut off, what is missing is computed before the next
guess. It follows the sequence's own options, with the sequence's own random numbers: where both models find much the same
likely, both draw the same token.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genai.cache import PrefixKey, Slot
from genai.engine.sequence import GenerationSequence
from genai.engine.speculation.estimate import Estimate
from genai.errors import GenerationError, OutOfMemoryError
from genai.model import Model, Span
from genai.sampling import Sampler

__all__ = ["ModelDrafter"]

MAX_BEHIND = 4
"""Up to so many tokens are read together with the first step of a guess; more are read before it, as a prompt is."""


@dataclass(slots=True, eq=False)
class _Follower:
    """A sequence as the draft model has it.

    Args:
        slot: Its slot of the draft model's cache.
        num_agreed: How many of the slot's tokens are known to be the sequence's.
    """

    slot: Slot
    num_agreed: int


class ModelDrafter:
    """Guesses by a model.

    Args:
        model: The draft model; its cache must be one that can be cut back.
        vocab_size: Logits per position of the model that it guesses for.
    """

    chances: Sequence[float] = (0.7,)
    is_free = False

    def __init__(self, model: Model, *, vocab_size: int) -> None:
        self._model = model
        self._vocab_size = vocab_size
        self._followers: dict[GenerationSequence, _Follower] = {}
        self._step_seconds = Estimate()

    @property
    def seconds_per_token(self) -> float | None:
        """What a step of the draft model takes."""
        return self._step_seconds.value if self._step_seconds.count else None

    def level(self, sequence: GenerationSequence) -> int | None:
        """Return 0, unless the sequence is too long for the draft model."""
        return 0 if len(sequence.ids) < self._model.context_length else None

    def guess(self, counts: Mapping[GenerationSequence, int]) -> dict[GenerationSequence, list[int]]:
        """Run the draft model as often as the longest guess has tokens, for all sequences together."""
        ready = [sequence for sequence, count in counts.items() if self._catch_up(sequence, count)]
        guesses: dict[GenerationSequence, list[int]] = {sequence: [] for sequence in ready}
        samplers = {each: None if each.sampler.is_argmax else each.sampler.copy() for each in ready}
        begin, num_steps = time.perf_counter(), 0
        while going_on := [each for each in ready if len(guesses[each]) < counts[each]]:
            tokens = self._step(going_on, guesses, samplers)
            num_steps += 1
            for sequence, token_id in zip(going_on, tokens, strict=True):
                if token_id is None:
                    ready.remove(sequence)
                else:
                    guesses[sequence].append(token_id)
        if num_steps:
            self._step_seconds.note((time.perf_counter() - begin) / num_steps)
        return guesses

    def forget(self, sequence: GenerationSequence) -> None:
        """Give back a sequence's slot."""
        follower = self._followers.pop(sequence, None)
        if follower is not None:
            self._model.cache.release(follower.slot)

    def reset(self) -> None:
        """Give up all slots and what they hold."""
        self._followers.clear()
        self._model.cache.reset()

    def check(self) -> None:
        """Assert the invariants; for tests."""
        self._model.cache.check()
        owned = {follower.slot for follower in self._followers.values()}
        assert {slot for slot in self._model.cache.slots if slot.in_use} == owned

    def _catch_up(self, sequence: GenerationSequence, count: int) -> bool:
        """Let the cache hold a sequence's beginning, or a chunk more of it; return whether only its end is missing."""
        ids, model = sequence.ids, self._model
        length = len(ids) + count
        if length > model.context_length or not self._can_read(sequence):
            return False
        key = PrefixKey(model.position_table_for(length))
        try:
            if sequence not in self._followers:
                slot = model.cache.acquire(ids, key=key)
                if slot is None:
                    return False
                self._followers[sequence] = _Follower(slot, len(slot.token_ids))
            if not model.cache.reserve(length):
                return False
            follower = self._followers[sequence]
            self._cut_back(follower, ids, key)
            behind = ids[len(follower.slot.token_ids) : -1]
            if len(behind) < MAX_BEHIND:
                return True
            model.run([Span(follower.slot, behind[: model.prompt_chunk])])
        except OutOfMemoryError:
            return False
        return len(behind) <= model.prompt_chunk

    def _can_read(self, sequence: GenerationSequence) -> bool:
        """Whether all tokens that the draft model has not seen are of its vocabulary."""
        follower = self._followers.get(sequence)
        return max(sequence.ids[follower.num_agreed if follower else 0 :], default=0) < self._model.vocab_size

    def _cut_back(self, follower: _Follower, ids: Sequence[int], key: PrefixKey) -> None:
        """Take from the cache what is not the sequence's, or was computed with another table of positions."""
        slot = follower.slot
        if slot.key != key:
            self._model.cache.truncate(slot, 0)
            slot.key, follower.num_agreed = key, 0
        agreed = min(follower.num_agreed, len(slot.token_ids))
        while agreed < min(len(slot.token_ids), len(ids) - 1) and slot.token_ids[agreed] == ids[agreed]:
            agreed += 1
        if agreed < len(slot.token_ids):
            self._model.cache.truncate(slot, agreed)
        follower.num_agreed = agreed

    def _step(
        self,
        sequences: Sequence[GenerationSequence],
        guesses: Mapping[GenerationSequence, list[int]],
        samplers: Mapping[GenerationSequence, Sampler | None],
    ) -> list[int | None]:
        """Run what the cache does not have of each sequence and its guess; return the tokens to follow."""
        spans = []
        for sequence in sequences:
            slot = self._followers[sequence].slot
            known = len(slot.token_ids) - len(
                sequence.ids
            )  # of the guess; negative as long as the end is missing
            guess = guesses[sequence]
            tokens = guess[known:] if known >= 0 else [*sequence.ids[known:], *guess]
            spans.append(Span(slot, tokens, len(tokens), goes_on_greedily=samplers[sequence] is None))
        output = self._model.run(spans)
        chosen: list[int | None] = []
        for index, (span, sequence) in enumerate(zip(spans, sequences, strict=True)):
            sampler, last = samplers[sequence], span.num_logits - 1
            if sampler is None:
                token_id = output.best_id(index, last)
            else:
                token_id = self._draw(output.logits_of(index, span.num_logits)[last], sampler)
            chosen.append(None if token_id is None or token_id >= self._vocab_size else token_id)
        return chosen

    def _draw(self, logits: npt.NDArray[np.float32], sampler: Sampler) -> int | None:
        """Choose as the sequence would; None where its options leave the draft model nothing, or fail at what it chose."""
        fitting = logits[: self._vocab_size]
        if len(fitting) < self._vocab_size:
            missing = np.full(self._vocab_size - len(fitting), -np.inf, np.float32)
            fitting = np.concatenate([fitting, missing])
        try:
            token_id = sampler.sample(fitting).token_id
            sampler.accept(token_id)
        except GenerationError:
            return None
        return token_id
