"""Which prompts are read next, and how much of each, so that what they have in common is read once.

Knows neither how slots are given out nor how much of prompts a step may run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from genai.cache.slot import common_length
from genai.engine.fairness import ServiceCounters
from genai.engine.prompt_budget import PromptBudget
from genai.engine.sequence import GenerationSequence
from genai.model import Model, Span

__all__ = ["PromptChunks", "note_cached"]

MIN_REUSED_SHARE = 1 / 8
"""A cached prefix of no greater share of a prompt is given up where the prompt can then run with others."""


class PromptChunks:
    """Cuts the prompts of sequences that have slots into chunks.

    Args:
        model: What runs them.
        budget: Where the largest chunks end.
        service: Which client was served how much.
    """

    def __init__(self, model: Model, budget: PromptBudget, service: ServiceCounters) -> None:
        self._model = model
        self._cache = model.cache
        self._budget = budget
        self._service = service
        self._begun: set[GenerationSequence] = set()  # those of which a chunk has run, or is about to

    def choose(
        self, unready: list[GenerationSequence], max_tokens: int
    ) -> Iterator[tuple[GenerationSequence, Span]]:
        """Yield which sequences are prefilled next, and what runs: one long prompt's chunk, or several prompts.

        A long prompt is cut at multiples of the limit, of which there are few: so mostly where it is cut whatever else runs.
        """
        chosen: list[GenerationSequence] = []
        left = max_tokens
        for sequence in self._in_order(unready):
            if chosen and (sequence.num_positions > left or _may_share(sequence, chosen)):
                continue
            if sequence not in self._begun or not chosen:
                self._take_over(sequence)
            if sequence.is_ready:  # another one had computed all of it
                self._begun.discard(sequence)
                continue
            if chosen and len(sequence.pending) > left:
                continue
            chosen.append(sequence)
            left -= len(sequence.pending)
            if left <= 0:
                break
        nearly_new = [sequence for sequence in chosen if _is_nearly_new(sequence)]
        if self._model.can_pad and len(nearly_new) > 1:
            for sequence in nearly_new:
                self._cache.truncate(sequence.slot, 0)
                note_cached(sequence)
        for sequence in chosen:
            num_held = len(sequence.slot.token_ids)
            count = self._budget.cut(len(sequence.pending), held=num_held, max_tokens=max_tokens)
            if sequence.slot.branch_point > num_held:
                count = min(count, sequence.slot.branch_point - num_held)
            yield sequence, Span(sequence.slot, *sequence.next_chunk(count))

    def note_run(self, sequences: Iterable[GenerationSequence]) -> None:
        """Note that chunks of these have run.

        Where states cannot be cut back, there are places to come back to: where the largest chunks end, where a prompt parts from
        another, and its end.
        """
        for sequence in sequences:
            slot, num_held = sequence.slot, len(sequence.slot.token_ids)
            if sequence.is_ready or num_held == slot.branch_point or num_held % self._budget.largest == 0:
                self._cache.take_snapshot(slot)
            if sequence.is_ready:
                self._begun.discard(sequence)

    def forget(self, sequence: GenerationSequence) -> None:
        """Note that a sequence has no slot any more."""
        self._begun.discard(sequence)

    def clear(self) -> None:
        """Note that no sequence has a slot any more."""
        self._begun.clear()

    def check(self) -> None:
        """Assert the invariants; for tests."""
        assert all(sequence.has_slot for sequence in self._begun)

    def _in_order(self, unready: list[GenerationSequence]) -> list[GenerationSequence]:
        """Return whose prompts go first: as in `WaitingQueue`, but that one which was begun is not left for its like."""
        served = self._service.served

        def rank(sequence: GenerationSequence) -> tuple[int, bool, int]:
            request = sequence.request
            return request.priority, sequence not in self._begun, served(request.client)

        are_alike = len({(each.request.priority, each.request.client) for each in unready}) == 1
        return unready if are_alike else sorted(unready, key=rank)

    def _take_over(self, sequence: GenerationSequence) -> None:
        """Take over what other slots hold of a sequence by now."""
        num_held = len(sequence.slot.token_ids)
        self._cache.adopt_prefix(sequence.slot, sequence.reusable)
        if sequence not in self._begun:
            self._begun.add(sequence)
            note_cached(sequence)
        elif _is_told(sequence):
            sequence.request.cached_prompt_tokens += len(sequence.slot.token_ids) - num_held


def note_cached(sequence: GenerationSequence) -> None:
    """Note how much of a prompt was cached, where that is told of its request."""
    if _is_told(sequence):
        sequence.request.cached_prompt_tokens = len(sequence.slot.token_ids)


def _is_told(sequence: GenerationSequence) -> bool:
    """Whether what is cached of a sequence is what is told of its request."""
    request = sequence.request
    return sequence.index == 0 and not request.num_preemptions and not sequence.token_ids


def _may_share(sequence: GenerationSequence, chosen: Iterable[GenerationSequence]) -> bool:
    """Whether much of a sequence is just being computed for another, to be taken over later."""
    least = MIN_REUSED_SHARE * (len(sequence.ids) - 1)
    return any(
        sequence.slot.key == other.slot.key and common_length(sequence.ids, other.ids) > max(least, 1)
        for other in chosen
    )


def _is_nearly_new(sequence: GenerationSequence) -> bool:
    """Whether hardly anything of a sequence is cached (a token that begins every text, say)."""
    return len(sequence.slot.token_ids) <= MIN_REUSED_SHARE * (sequence.num_positions - 1)
