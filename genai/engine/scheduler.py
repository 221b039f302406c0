"""What runs next: requests that wait for slots, prompts that are computed chunk by chunk, sequences that decode.

Runs nothing itself and places nothing: where a slot lies is the cache's business, how a batch is run the model's.
Under memory pressure the request that came last, of those of the lowest priority, gives its slots back and waits again, with
the tokens that it has; so the oldest of the highest priority always goes on as if it were alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from genai.cache import KVCache, PrefixKey, Slot
from genai.engine.prompt_budget import PromptBudget
from genai.engine.prompt_chunks import PromptChunks, note_cached
from genai.engine.request import Request
from genai.engine.sequence import GenerationSequence
from genai.engine.speculation import Speculation
from genai.engine.strategies import Strategy
from genai.engine.waiting import WaitingQueue
from genai.errors import OptionError, OutOfMemoryError
from genai.model import Model, Span

__all__ = ["Batch", "Scheduler"]

RESERVED_NEW_TOKENS = 256
"""Room made for new tokens when a request is admitted, so that short answers never move the cache."""


@dataclass(slots=True)
class Batch:
    """One step's work.

    Args:
        spans: What the model runs: chunks of prompts first, then the rows of strategies.
        prompts: The sequences that the first spans belong to.
        searches: What decodes, each with the place of its first row among the spans.
    """

    spans: list[Span] = field(default_factory=list)
    prompts: list[GenerationSequence] = field(default_factory=list)
    searches: list[tuple[Strategy, int]] = field(default_factory=list)


class Scheduler:
    """Admits requests in the order of `WaitingQueue`, and makes one step's batch of those that run.

    A request is known here by its strategy. `running` is in order of admission. Nothing is ended here: what cannot go on is
    the loop's to end. `prompts` says what of prompts runs, and is told what has.

    Args:
        model: What runs.
        speculation: What guesses sequences ahead.
        budget: How many tokens of prompts run in a step.
    """

    def __init__(self, model: Model, speculation: Speculation, budget: PromptBudget) -> None:
        self.waiting = WaitingQueue()
        self.running: list[Strategy] = []
        self.num_preemptions = 0
        self.num_prompt_tokens = 0  # of what has run and ended
        self.num_cached_tokens = 0
        self._model = model
        self._cache: KVCache = model.cache
        self._speculation = speculation
        self._budget = budget
        self._admitting: Strategy | None = None
        self.prompts = PromptChunks(model, budget, self.waiting.service)

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return bool(self.waiting or self.running)

    @property
    def num_sequences(self) -> int:
        """How many sequences run or wait."""
        return sum(len(strategy.sequences) for strategy in (*self.waiting, *self.running))

    def key_of(self, length: int, adapter: str | None = None) -> PrefixKey:
        """Return how a sequence of this length is computed."""
        return PrefixKey(self._model.position_table_for(length), adapter)

    def make_room(self) -> list[Strategy]:
        """Prepare the slots for the next tokens of every sequence; return what has no room even alone.

        Raises:
            NoMemoryError: The device has no memory for a request.
        """
        self._recompute_with_other_tables()
        self._shift()
        while True:
            longest, owner = 0, None
            for strategy in self.running:
                for sequence in strategy.sequences:
                    if sequence.is_ready:
                        length = sequence.num_positions
                        if length > longest:
                            longest, owner = length, strategy
            if owner is None or self._reserve(longest, owner):
                return []
            if len(self.running) == 1:
                return list(self.running)
            self._preempt(max(reversed(self.running), key=_priority))

    def admit(self, fail: Callable[[Strategy, Exception], None]) -> None:
        """Give slots to what waits, in order, while there are any; call `fail` with what never gets them, and why."""
        while (strategy := self.waiting.first()) is not None:
            self._admitting = strategy
            if not strategy.request.is_finished:  # as it may be where a step was interrupted
                try:
                    admitted = self._acquire(strategy) or (not self.running and self._acquire_alone(strategy))
                except OutOfMemoryError as error:
                    fail(strategy, error)
                    continue
                if not admitted and self.running:
                    break
                if not admitted:
                    fail(strategy, self._never_fits(strategy))
                    continue
                self.running.append(strategy)
                strategy.request.times.note_admission()
                self.waiting.service.begin(strategy, _num_uncached(strategy))
            self.waiting.remove(strategy)
        self._admitting = None

    def batch(self) -> Batch:
        """Return the next step's work: as much of prompts as the budget allows, and every row that decodes."""
        batch = Batch()
        unready = [s for each in self.running for s in each.sequences if s.has_slot and not s.is_ready]
        if unready:
            max_tokens = self._budget.max_tokens(is_decoding=any(map(_is_decoding, self.running)))
            for sequence, span in self.prompts.choose(unready, max_tokens):
                batch.prompts.append(sequence)
                batch.spans.append(span)
        decoding = self.running
        if unready:
            decoding = [each for each in decoding if _is_decoding(each)]
        self._speculation.draft(decoding)
        for strategy in decoding:
            batch.searches.append((strategy, len(batch.spans)))
            batch.spans += strategy.rows()
        return batch

    def owner_of(self, sequence: GenerationSequence) -> Strategy:
        """Return the running strategy that a sequence belongs to."""
        return next(strategy for strategy in self.running if sequence in strategy.sequences)

    def cancelled(self) -> list[Strategy]:
        """Return what was cancelled, whether it runs or waits."""
        return [strategy for strategy in self._everything() if strategy.request.is_cancelled]

    def overdue(self) -> list[Strategy]:
        """Return what has had its time, whether it runs or waits."""
        return [strategy for strategy in self._everything() if strategy.request.is_overdue]

    def release(self, strategy: Strategy, *, is_sound: bool = True) -> None:
        """Give back the slots of ended sequences (of all, if what they hold cannot be trusted); forget what has none."""
        for sequence in strategy.sequences:
            if sequence.has_slot and not (is_sound and sequence.finish_reason is None):
                if not is_sound:
                    self._cache.truncate(sequence.slot, 0)
                self._give_back(sequence)
        if not any(sequence.has_slot for sequence in strategy.sequences):
            self.waiting.service.end(strategy)
            self.waiting.remove(strategy)
            if strategy in self.running:
                self.running.remove(strategy)
                self.num_prompt_tokens += len(strategy.request.prompt_token_ids)
                self.num_cached_tokens += strategy.request.cached_prompt_tokens

    def abandon(self, *, and_waiting: bool = False) -> list[Request]:
        """Take out everything that runs, whatever state an interrupted step left it in; return what has not ended.

        Args:
            and_waiting: Whether to take out what waits, too.
        """
        running, self.running = self.running, []
        for strategy in self.waiting:
            if and_waiting or strategy is self._admitting or strategy in running:
                self.waiting.remove(strategy)
                running += [strategy] * (strategy not in running)
        self._admitting = None
        for strategy in running:
            self.waiting.service.end(strategy)
            for sequence in strategy.sequences:
                sequence.slot = None
        self.prompts.clear()
        self._cache.reset()
        self._speculation.reset()
        return [strategy.request for strategy in running if not strategy.request.is_finished]

    def check(self) -> None:
        """Assert the invariants; for tests."""
        self._cache.check()
        self._speculation.check()
        sequences = [sequence for strategy in self.running for sequence in strategy.sequences]
        owned = [sequence.slot for sequence in sequences if sequence.has_slot]
        assert len(set(owned)) == len(owned)
        assert {slot for slot in self._cache.slots if slot.in_use} == set(owned)
        assert all(sequence.has_slot == (sequence.finish_reason is None) for sequence in sequences)
        self.prompts.check()
        assert all(len(s.slot.token_ids) <= self._cache.capacity for s in sequences if s.has_slot)

    def _everything(self) -> tuple[Strategy, ...]:
        return (*self.running, *self.waiting)

    def _recompute_with_other_tables(self) -> None:
        """Empty the slots of sequences that have come to a length where the model's position table changes."""
        for strategy in self.running:
            for sequence in strategy.sequences:
                if sequence.is_ready:
                    slot, length = sequence.slot, sequence.num_positions
                    if self._model.position_table_for(length) != slot.key.position_table:
                        self._cache.truncate(slot, 0)
                        slot.key = self.key_of(length, strategy.request.adapter)

    def _shift(self) -> None:
        """Drop tokens where a slot is full and its sequence goes on all the same."""
        for strategy in self.running:
            for sequence in strategy.sequences:
                if count := sequence.num_to_drop:
                    num_sinks = strategy.request.config.num_sink_tokens
                    try:
                        self._cache.drop(sequence.slot, num_sinks, count, self._model.rotations())
                    except OutOfMemoryError as error:
                        raise NoMemoryError(strategy, error) from error
                    sequence.note_dropped(count)

    def _reserve(self, num_positions: int, owner: Strategy) -> bool:
        try:
            return self._cache.reserve(num_positions)
        except OutOfMemoryError as error:
            raise NoMemoryError(owner, error) from error

    def _preempt(self, strategy: Strategy) -> None:
        """Let a request wait again; what its slots hold may still be there when it gets others."""
        for sequence in strategy.sequences:
            if sequence.has_slot:
                self._give_back(sequence)
        strategy.request.num_preemptions += 1
        self.num_preemptions += 1
        self.waiting.put_back(strategy)
        self.running.remove(strategy)

    def _give_back(self, sequence: GenerationSequence) -> None:
        self._cache.release(sequence.slot)
        self.prompts.forget(sequence)
        self._speculation.forget(sequence)
        sequence.slot = None

    def _acquire(self, strategy: Strategy) -> bool:
        """Take all slots that a request needs, or none."""
        sequences, length = _going_on(strategy)
        least_capacity = self._least_capacity(strategy, length)
        if not self._can_fit(len(sequences), least_capacity):
            return False
        slots: list[Slot] = []
        try:
            for sequence in sequences:
                key = self.key_of(sequence.num_positions, strategy.request.adapter)
                slot = self._cache.acquire(sequence.reusable, key=key, least_capacity=least_capacity)
                if slot is None:
                    break
                slots.append(slot)
            wanted = self._most_positions(strategy, length)
            if len(slots) == len(sequences) and any(self._cache.reserve(count) for count in (wanted, length)):
                for sequence, slot in zip(sequences, slots, strict=True):
                    sequence.slot = slot
                note_cached(sequences[0])
                return True
        except BaseException:
            self._release_all(slots)
            raise
        self._release_all(slots)
        return False

    def _most_positions(self, strategy: Strategy, length: int) -> int:
        """Return how many positions are made room for at once, for sequences of this length."""
        num_new = min(strategy.request.config.max_new_tokens or RESERVED_NEW_TOKENS, RESERVED_NEW_TOKENS)
        return min(length + num_new, strategy.sequences[0].window or self._model.context_length)

    def _least_capacity(self, strategy: Strategy, length: int) -> int:
        """Return how many positions every slot must have if a request of this length joins those that run.

        What had to give its slots back once only joins others where it can go on for a while.
        """
        if strategy.request.num_preemptions and self.running:
            length = self._most_positions(strategy, length)
        running = [sequence for each in self.running for sequence in each.sequences if sequence.has_slot]
        return max(length, *(sequence.num_positions for sequence in running), 0)

    def _can_fit(self, num_sequences: int, num_positions: int) -> bool:
        """Whether the limits leave room for so many more sequences, every slot having so many positions."""
        shape, num_slots = self._cache.shape, self._cache.num_in_use + num_sequences
        return num_slots <= shape.max_slots and shape.capacity_for(num_slots) >= num_positions

    def _acquire_alone(self, strategy: Strategy) -> bool:
        """Take the slots of a request that runs alone, giving up all that is cached, if the limits allow it at all."""
        sequences, length = _going_on(strategy)
        if self._cache.shape.capacity_for(len(sequences)) < length:
            return False
        self._cache.restart(len(sequences))
        return self._acquire(strategy)

    def _release_all(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            self._cache.release(slot)

    def _never_fits(self, strategy: Strategy) -> OptionError:
        shape = self._cache.shape
        needed = shape.num_bytes(len(strategy.sequences), len(strategy.request.prompt_token_ids))
        return OptionError(
            f"the prompt needs {needed} bytes of KV cache, but kv_cache_bytes is {shape.max_bytes}: "
            "raise kv_cache_bytes or shorten the prompt"
        )


class NoMemoryError(Exception):
    """The device has no memory for one request's next tokens; the engine ends that request with the cause."""

    def __init__(self, owner: Strategy, cause: OutOfMemoryError) -> None:
        super().__init__(str(cause))
        self.owner, self.cause = owner, cause


def _going_on(strategy: Strategy) -> tuple[list[GenerationSequence], int]:
    """Return the sequences that have not ended, and the length of the longest."""
    sequences = [sequence for sequence in strategy.sequences if sequence.finish_reason is None]
    return sequences, max(sequence.num_positions for sequence in sequences)


def _is_decoding(strategy: Strategy) -> bool:
    """Whether all that is missing in its slots is the next row."""
    return all(sequence.is_ready or not sequence.has_slot for sequence in strategy.sequences)


def _priority(strategy: Strategy) -> int:
    return strategy.request.priority


def _num_uncached(strategy: Strategy) -> int:
    """Return how many tokens a request that got its slots has to run before it decodes."""
    return max(len(each.pending) for each in strategy.sequences if each.has_slot)
