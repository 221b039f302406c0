"""Who runs next, and in which slot: requests that wait, sequences that prefill, sequences that decode.

Keeps one invariant on which a decoding step rests: the sequence `decoding[r]` owns slot number r, so that a step binds
the first slots of every buffer as they lie. Runs nothing itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from genai.cache import KVCache, Slot
from genai.engine.request import GenerationSequence, Request
from genai.errors import OptionError

__all__ = ["DecoderModel", "Scheduler"]

RESERVED_NEW_TOKENS = 256
"""Room made for new tokens when a request is admitted, so that short answers never move the cache."""

MIN_REUSED_SHARE = 1 / 8
"""A cached prefix of no greater share of a prompt is given up where the prompt can then prefill with others."""


class DecoderModel(Protocol):
    """What the engine needs of a loaded model; `genai.runtime.Decoder` is one, tests have another."""

    cache: KVCache
    context_length: int
    max_batch: int
    vocab_size: int

    @property
    def can_pad(self) -> bool:
        """Whether prompts of different lengths may prefill together, the shorter ones padded."""
        ...

    def prefill(self, slots: Sequence[Slot], rows: Sequence[Sequence[int]], /) -> None:
        """Append tokens to slots; several must be empty and neighbours."""
        ...

    def decode(self, token_ids: list[int], /) -> npt.NDArray[np.float32]:
        """Append one token to each of the first slots; return float32 [rows, vocab], valid until the next call."""
        ...

    def score(self, slot: Slot, token_ids: Sequence[int], /) -> npt.NDArray[np.float32]:
        """Append tokens to a slot and return the logits at each, float32 [len(token_ids), vocab]."""
        ...

    def variant_for(self, length: int, /) -> int:
        """Return which of the model's position tables a sequence of this length uses."""
        ...


class Scheduler:
    """Admits requests, orders prefilling, and keeps decoding sequences in the first slots."""

    def __init__(self, model: DecoderModel) -> None:
        self.waiting: deque[Request] = deque()
        self.prefilling: list[GenerationSequence] = []
        self.decoding: list[GenerationSequence] = []
        self._admitted: dict[Request, None] = {}
        self._model = model
        self._cache = model.cache

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return bool(self.waiting or self.prefilling or self.decoding)

    def prepare(self, request: Request) -> None:
        """See that a request can run, before it is put among those that wait, and give it its samplers.

        Raises:
            OptionError: It can never run: too long, or too many sequences.
        """
        self.check_prompt(request.prompt_token_ids)
        if request.num_sequences > self._model.max_batch:
            raise OptionError(
                f"{request.num_sequences} sequences (num_beams or num_return_sequences) are more than "
                f"max_batch={self._model.max_batch}"
            )
        request.samplers = [
            request.make_sampler(vocab_size=self._model.vocab_size, stream=i)
            for i in range(request.num_sequences)
        ]

    def check_prompt(self, token_ids: Sequence[int]) -> None:
        """See that the model can be fed these tokens.

        Raises:
            OptionError: They are none, too many, or not of the vocabulary.
        """
        length, limit = len(token_ids), self._model.context_length
        if length == 0:
            raise OptionError("the prompt is empty: it has no tokens, not even one that begins a text")
        if length > limit:
            raise OptionError(
                f"the prompt has {length} tokens, but the context holds {limit}: shorten the prompt"
            )
        if min(token_ids) < 0 or max(token_ids) >= self._model.vocab_size:
            raise OptionError(
                f"token ids must be at least 0 and less than {self._model.vocab_size}, the vocabulary"
            )

    def admit(self) -> None:
        """Give slots to waiting requests, in order, while there are any."""
        while self.waiting:
            request = self.waiting[0]
            self._admitted = {each: None for each in (*self._admitted, request) if not each.is_finished}
            slots = self._acquire(request)
            is_alone = not self.prefilling and not self.decoding
            if slots is None and is_alone and self._can_fit(request):
                self._cache.restart(request.num_sequences)
                slots = self._acquire(request)
            if slots is None:
                del self._admitted[request]
                if not is_alone:
                    return
                self.waiting.popleft()
                request.fail(self._never_fits(request))
                continue
            self.waiting.popleft()
            request.cached_prompt_tokens = len(slots[0].token_ids)
            request.sequences = [
                GenerationSequence(request, i, slot, sampler)
                for i, (slot, sampler) in enumerate(zip(slots, request.samplers, strict=True))
            ]
            # The others are copies of the first, once that is prefilled.
            self.prefilling.append(request.sequences[0])
            self.advance(request.sequences[0])

    def take_cancelled(self) -> list[Request]:
        """Return the requests that were cancelled; those that waited are taken out."""
        running = dict.fromkeys(
            s.request for s in (*self.decoding, *self.prefilling) if s.request.is_cancelled
        )
        snapshot = tuple(self.waiting)  # other threads may submit meanwhile
        waiting = [request for request in snapshot if request.is_cancelled]
        for request in waiting:
            self.waiting.remove(request)
        return [*running, *waiting]

    def next_chunk(self, max_tokens: int) -> list[GenerationSequence]:
        """Return the sequences that prefill next: several short new prompts together, or one.

        Together they must fit `max_tokens` when padded to the longest, and not waste half of that. Their slots are
        then empty and neighbours, right where decoding sequences go.
        """
        unready = [sequence for sequence in self.prefilling if not sequence.is_ready]
        chosen = unready[:1]
        if not chosen or not _is_nearly_new(chosen[0]):
            return chosen
        lengths = [len(chosen[0].ids) - 1]
        for sequence in unready[1:]:
            together = [*lengths, len(sequence.ids) - 1]
            fits = len(together) * max(together) <= max_tokens and max(together) <= 2 * min(together)
            if not self._model.can_pad:
                fits = fits and max(together) == min(together)
            if fits and _is_nearly_new(sequence):
                chosen.append(sequence)
                lengths = together
        if len(chosen) > 1:
            for sequence in chosen:
                self._forget_prefix(sequence)
        if not chosen[0].slot.token_ids:
            for place, sequence in enumerate(chosen, start=len(self.decoding)):
                self._cache.swap(sequence.slot, self._cache.slots[place])
        return chosen

    def advance(self, sequence: GenerationSequence) -> None:
        """Let a prefilled sequence, and those that wait for it, decode."""
        request = sequence.request
        if not sequence.is_ready or sequence not in self.prefilling:
            return  # it joined with another sequence of its request
        if not sequence.token_ids:
            for other in request.sequences[1:]:
                self._cache.truncate(other.slot, 0)
                self._cache.copy(sequence.slot, other.slot)
        if request.is_beam_search and not all(s.is_ready for s in request.sequences):
            return  # beams advance in lockstep
        joining = request.sequences if request.is_beam_search or not sequence.token_ids else [sequence]
        for joined in joining:
            if joined in self.prefilling:
                self.prefilling.remove(joined)
            self._cache.swap(joined.slot, self._cache.slots[len(self.decoding)])
            self.decoding.append(joined)

    def make_room(self) -> list[GenerationSequence]:
        """Prepare the slots for one more token each; return the decoding sequences that have no room for one."""
        for sequence in list(self.decoding):
            variant = self._model.variant_for(len(sequence.ids))
            if variant != sequence.slot.variant:
                # The model's position table changes at this length, so the whole sequence has to be computed anew.
                self._stop_decoding(sequence)
                self._cache.truncate(sequence.slot, 0)
                sequence.slot.variant = variant
                self.prefilling.append(sequence)
        longest = max((len(sequence.ids) for sequence in self.decoding), default=0)
        if self._cache.reserve(longest):
            return []
        return [sequence for sequence in self.decoding if len(sequence.ids) > self._cache.capacity]

    def retire(self, sequences: Iterable[GenerationSequence]) -> None:
        """Take ended sequences out and give their slots back."""
        for sequence in sequences:
            if sequence in self.decoding:
                self._stop_decoding(sequence)
            elif sequence in self.prefilling:
                self.prefilling.remove(sequence)
            self._cache.release(sequence.slot)

    def abandon(self) -> list[Request]:
        """Take out everything that runs, whatever state an interrupted step left it in; return what has not ended."""
        self.decoding.clear()
        self.prefilling.clear()
        self._cache.reset()
        unfinished = [request for request in self._admitted if not request.is_finished]
        self._admitted.clear()
        for request in unfinished:
            if request in self.waiting:
                self.waiting.remove(request)
        return unfinished

    def check(self) -> None:
        """Assert the invariants; for tests."""
        self._cache.check()
        running = [*self.decoding, *self.prefilling]
        assert all(s.slot.index == row for row, s in enumerate(self.decoding))
        assert len({s.slot.index for s in running}) == len(running)
        owned = {
            s.slot.index for r in {s.request for s in running} for s in r.sequences if not s.finish_reason
        }
        assert {slot.index for slot in self._cache.slots if slot.in_use} == owned

    def _acquire(self, request: Request) -> list[Slot] | None:
        """Take all slots that a request needs, or none."""
        prompt = request.prompt_token_ids
        variant = self._model.variant_for(len(prompt))
        slots: list[Slot] = []
        for i in range(request.num_sequences):
            slot = self._cache.acquire(list(prompt) if i == 0 else [prompt[-1]], variant=variant)
            if slot is None:
                break
            slots.append(slot)
        new_tokens = min(request.config.max_new_tokens or RESERVED_NEW_TOKENS, RESERVED_NEW_TOKENS)
        wanted = min(len(prompt) + new_tokens, self._model.context_length)
        if len(slots) == request.num_sequences and (
            self._cache.reserve(wanted) or self._cache.reserve(len(prompt))
        ):
            return slots
        for slot in slots:
            self._cache.release(slot)
        return None

    def _forget_prefix(self, sequence: GenerationSequence) -> None:
        self._cache.truncate(sequence.slot, 0)
        if not sequence.token_ids:
            sequence.request.cached_prompt_tokens = 0

    def _can_fit(self, request: Request) -> bool:
        """Whether a request's prompt fits the limits if nothing else is there."""
        return self._cache.shape.capacity_for(request.num_sequences) >= len(request.prompt_token_ids)

    def _never_fits(self, request: Request) -> OptionError:
        shape = self._cache.shape
        needed = shape.num_bytes(request.num_sequences, len(request.prompt_token_ids))
        return OptionError(
            f"the prompt needs {needed} bytes of KV cache, but kv_cache_bytes is {shape.max_bytes}: "
            "raise kv_cache_bytes or shorten the prompt"
        )

    def _stop_decoding(self, sequence: GenerationSequence) -> None:
        """Take a sequence out of the decoding rows; the last of them moves into its place."""
        row = sequence.slot.index
        last = self.decoding[-1]
        self._cache.swap(sequence.slot, last.slot)
        self.decoding[row] = last
        self.decoding.pop()


def _is_nearly_new(sequence: GenerationSequence) -> bool:
    """Whether hardly anything of a sequence is cached (a token that begins every text, say)."""
    return len(sequence.slot.token_ids) <= MIN_REUSED_SHARE * (len(sequence.ids) - 1)
