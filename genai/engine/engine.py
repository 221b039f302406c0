"""The decoding loop: one step is schedule, run, sample, commit, emit.

Whoever waits for a result drives the loop, one thread at a time: `advance` takes a step, or waits while another
thread does and returns when that step is over. So a plain loop in one thread costs no thread switch per token, and
any number of threads may wait for their own requests.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from genai.cache import CachedPrefix, PrefixKey, Slot
from genai.engine.admission import Admission
from genai.engine.deadlines import called_at
from genai.engine.prompt_budget import PromptBudget
from genai.engine.request import Request
from genai.engine.results import FinishReason
from genai.engine.scheduler import Batch, NoMemoryError, Scheduler
from genai.engine.speculation import Speculation
from genai.engine.strategies import Strategy
from genai.engine.turn import Turn
from genai.engine.workload import Workload
from genai.errors import GenaiError, GenerationError, OptionError, OutOfMemoryError
from genai.model import Model, Span, StepOutput

__all__ = ["Engine"]

_Found = TypeVar("_Found")


class Engine:
    """Runs any number of requests at once over one model.

    Args:
        model: The model.
        prefill_chunk: Most tokens of prompts that run in a step; `None` is what the model computes best, and beside rows that
            decode as many as keep nobody waiting (`PromptBudget`).
        speculation: What guesses sequences ahead; `None` is prompt lookup.

    `hand_over` is called whenever something may have been emitted or ended: once a step, for whoever gathers what a request's
    `on_piece` is told.
    """

    def __init__(
        self, model: Model, *, prefill_chunk: int | None = None, speculation: Speculation | None = None
    ) -> None:
        self._model = model
        self._budget = PromptBudget(prefill_chunk or model.prompt_chunk, is_fixed=prefill_chunk is not None)
        self._speculation = Speculation(model) if speculation is None else speculation
        self._admission = Admission(model, self._speculation)
        self._scheduler = Scheduler(model, self._speculation, self._budget)
        self._turn = Turn()
        self.hand_over: Callable[[], None] = lambda: None
        self._reading: Sequence[tuple[Request, Slot]] = ()  # whose prompts the current step reads

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return self._scheduler.has_work

    @property
    def num_sequences(self) -> int:
        """How many sequences run or wait; another thread may read it while a step runs."""
        return self._scheduler.num_sequences

    def workload(self) -> Workload:
        """Return how much there is to do; another thread may ask while a step runs."""
        scheduler, cache = self._scheduler, self._model.cache
        return Workload(
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            num_preemptions=scheduler.num_preemptions,
            prompt_tokens=scheduler.num_prompt_tokens,
            cached_prompt_tokens=scheduler.num_cached_tokens,
            cache_tokens=cache.num_tokens(in_use=True),
            idle_cache_tokens=cache.num_tokens(in_use=False),
            max_cache_tokens=cache.shape.max_positions,
            cache_bytes=cache.nbytes,
            max_cache_bytes=cache.shape.max_bytes,
        )

    def num_uncached(self, token_ids: Sequence[int], adapter: str | None = None) -> int:
        """Return how many tokens of a prompt would have to run; another thread may ask while a step runs."""
        key = self._scheduler.key_of(len(token_ids), adapter)
        return len(token_ids) - self._model.cache.num_cached(token_ids, key=key)

    def submit(self, request: Request) -> None:
        """Queue a request; `advance` runs it.

        Raises:
            OptionError: The request can never run.
        """
        strategy = self._admission.prepare(request)
        request.times.note_submission()
        if len(request.prompt_token_ids) == self._model.context_length and not request.shifts:
            self._finish(strategy, "length")
            return
        with self._turn.changing():
            self._scheduler.waiting.add(strategy)

    def advance(self, request: Request | None = None) -> None:
        """Take one step, or wait for the step that another thread is taking.

        Returns at once if the request has ended or has pieces to fetch.

        Raises:
            GenerationError: This was called from within a step.
        """
        self._advance(lambda: request is not None and bool(request.pieces or request.is_finished))

    def run(self, requests: Sequence[Request]) -> None:
        """Advance until all these requests have ended."""
        left = deque(requests)
        while left:
            if left[0].is_finished:
                left.popleft()
            else:
                self._advance(lambda: left[0].is_finished)

    def cancel_soon(self, request: Request) -> None:
        """Ask for a request's end before the next step, without waiting for it; any thread may, also a signal's handler.

        If the current step computes its prompt, and the model computes that apart from others, it stops.
        """
        request.is_cancelled = True
        self._stop_reading()

    def cancel(self, request: Request) -> None:
        """End a request with what it has so far; does nothing if it has ended.

        It has ended when this returns, unless the caller interrupts a step of its own thread (as a signal handler
        does): then it ends before the next one.
        """
        self.cancel_soon(request)
        if not self._turn.is_held_here:
            with self._turn.held(urgent=True):
                self._end_from_outside()
            self.hand_over()

    def fail_all(self, error: BaseException) -> None:
        """End every request, also those that wait, with an error, and start over with an empty cache."""
        with self._turn.held(urgent=True):
            self._abandon(error, and_waiting=True)

    def check_prompt(self, token_ids: Sequence[int]) -> None:
        """See that the model can be fed these tokens.

        Raises:
            OptionError: They are none, too many, or not of the vocabulary.
        """
        self._admission.check_prompt(token_ids)

    def score(
        self, token_ids: Sequence[int], *, num_logits: int | None = None, adapter: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the logits at the last of these tokens, float32 [num_logits, vocab]; waits for a free slot.

        What a slot holds of the tokens before them is not computed again, so that a long text can be scored part by
        part. `num_logits` of None are those at every token.

        Raises:
            OptionError: There are more tokens than the context or kv_cache_bytes holds, or none; or fewer than
                `num_logits`; or the model has no such adapter.
            GenerationError: The model failed to run; then whatever else runs has failed too.
        """
        self._admission.check_prompt(token_ids)
        self._admission.check_adapter(adapter)
        if num_logits is None:
            num_logits = len(token_ids)
        if not 1 <= num_logits <= len(token_ids):
            raise OptionError(
                f"num_logits must be at least 1 and at most {len(token_ids)}, the number of tokens, not {num_logits}"
            )
        before, scored = token_ids[:-num_logits], token_ids[-num_logits:]

        def score(slot: Slot) -> npt.NDArray[np.float32]:
            self._append(slot, before)
            output = self._model.run([Span(slot, scored, num_logits)])
            logits = output.logits_of(0, num_logits)
            return logits if output.logits.base is None else logits.copy()  # a view is of a run's own buffer

        return self._read(before, score, num_positions=len(token_ids), adapter=adapter)

    def compute_prefix(self, token_ids: Sequence[int], *, adapter: str | None = None) -> CachedPrefix:
        """Return what a slot holds of these tokens, computed as far as no slot does yet; waits for a free slot.

        Raises:
            OptionError: They leave no room for another token, or are more than kv_cache_bytes holds, or none; or the model
                has no such adapter.
            GenerationError: The model failed to run; then whatever else runs has failed too.
        """
        self._admission.check_prompt(token_ids)
        self._admission.check_adapter(adapter)
        if len(token_ids) == self._model.context_length:
            raise OptionError(
                f"the prompt fills the context of {len(token_ids)} tokens, so that nothing could go on from it: shorten it"
            )

        def compute(slot: Slot) -> CachedPrefix:
            self._append(slot, token_ids)
            return self._model.cache.read(slot)

        return self._read(token_ids, compute, num_positions=len(token_ids), adapter=adapter)

    def write_prefix(self, prefix: CachedPrefix) -> None:
        """Let a slot hold what another one held, as if it had been computed here; waits for a slot.

        Raises:
            OptionError: It is longer than the context or kv_cache_bytes allows, or was computed in another way than it would
                be here.
        """
        token_ids = prefix.token_ids
        self._admission.check_prompt(token_ids)
        key = self._scheduler.key_of(len(token_ids), prefix.key.adapter)
        if prefix.key != key:
            raise OptionError("the saved cache was computed with another table of positions")
        self._with_slot(token_ids, lambda slot: self._model.cache.write(slot, prefix), len(token_ids), key)

    def wait_for_work(self, timeout_seconds: float, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until there is a request to run, or no need to; return whether there is one.

        Args:
            timeout_seconds: The longest wait.
            unless: Whether nobody wants to wait any more; looked at again after `wake`.
        """
        self._turn.wait_for(lambda: self.has_work or unless(), timeout_seconds)
        return self.has_work

    def wake(self) -> None:
        """Let whoever waits look again at what it waits for."""
        with self._turn.changing():
            pass

    def check(self) -> None:
        """Assert the invariants of scheduler and cache; for tests."""
        self._scheduler.check()

    def _read(
        self,
        token_ids: Sequence[int],
        use: Callable[[Slot], _Found],
        *,
        num_positions: int,
        adapter: str | None,
    ) -> _Found:
        """Use a slot that holds as much of these tokens as any, all but a chunk of a long text.

        The chunks before the last are read in turns of their own, with a step of whatever else runs between two of them.
        Others may take the slot meanwhile; so it is tried no more often than the text has chunks.
        """
        key = self._scheduler.key_of(num_positions, adapter)
        chunk = self._budget.max_tokens(is_decoding=self.has_work)
        wanted = [*token_ids, 0]  # a slot keeps one token less than it is asked for, whatever that is
        for _ in range(len(token_ids) // chunk):
            if len(wanted) - self._model.cache.num_cached(wanted, key=key) - 1 <= chunk:
                break
            self._with_slot(
                wanted, lambda slot: self._append(slot, token_ids, max_tokens=chunk), num_positions, key
            )
            if self.has_work:
                self.advance()
        return self._with_slot(wanted, use, num_positions, key)

    def _append(self, slot: Slot, token_ids: Sequence[int], *, max_tokens: int | None = None) -> None:
        """Append what a slot lacks of these tokens, chunk by chunk; at most so many of them.

        Somebody who is late may still give up what the slot held before (`Model.give_up`): then a chunk runs once more.
        """
        end, chunk = len(token_ids), self._budget.largest
        if max_tokens is not None:
            end = min(end, len(slot.token_ids) + max_tokens)
        while (num_held := len(slot.token_ids)) < end:
            self._model.run([Span(slot, token_ids[num_held : min(num_held + chunk, end)])])
            self._model.cache.take_snapshot(slot)

    def _with_slot(
        self, token_ids: Sequence[int], use: Callable[[Slot], _Found], num_positions: int, key: PrefixKey
    ) -> _Found:
        """Use a slot between two steps, once one is free: one that holds as much of these tokens as any."""
        while True:
            with self._turn.held(urgent=True):
                cache, slot = self._model.cache, None
                try:
                    slot = cache.acquire(token_ids, key=key)
                    if slot is not None and cache.reserve(num_positions):
                        return use(slot)
                    if not self._scheduler.running:
                        raise OptionError(
                            f"{num_positions} tokens need more KV cache than kv_cache_bytes allows"
                        )
                except (OptionError, OutOfMemoryError):
                    raise  # the slots are sound
                except BaseException as error:
                    self._abandon(error)
                    raise
                finally:
                    if slot is not None and slot.in_use:
                        cache.release(slot)
            self.advance()

    def _advance(self, is_served: Callable[[], bool]) -> None:
        with self._turn.held(is_served) as has_turn:
            if not has_turn:
                return
            try:
                self._step()
            except BaseException as error:
                # Whatever interrupted the step (a failed run, Ctrl-C) left some rows committed and others not.
                if not self._abandon(error) and not isinstance(error, KeyboardInterrupt):
                    # What waits would fail alike at the next step, and so for ever.
                    self._abandon(error, and_waiting=True)
                if not isinstance(error, GenaiError):
                    raise
            self.hand_over()

    def _step(self) -> None:
        self._end_from_outside()
        self._make_room()
        self._scheduler.admit(self._fail)
        batch = self._scheduler.batch()
        if not batch.spans:
            return
        begin, held = time.perf_counter(), [len(span.slot.token_ids) for span in batch.spans]
        try:
            output = self._run(batch)
        except OutOfMemoryError as error:
            self._give_way(batch, held, error)
            return
        prompts = zip(batch.prompts, batch.spans, held, strict=False)
        num_read = sum(len(span.slot.token_ids) - count for _, span, count in prompts)
        if batch.prompts:
            self._scheduler.note_prompts(batch.prompts)
            self._score_prompts(batch, output)
        for strategy, first in batch.searches:
            self._search(strategy, output, first)
        self._note(batch, num_read, time.perf_counter() - begin)

    def _note(self, batch: Batch, num_read: int, seconds: float) -> None:
        """Take in what a step took in which so many tokens of prompts have run."""
        if not batch.prompts:
            self._speculation.note_step(batch.spans, seconds)
        if num_read > 0 or not batch.prompts:  # and not of a prompt that was given up
            self._budget.note(num_read, len(batch.spans) - len(batch.prompts), seconds)

    def _run(self, batch: Batch) -> StepOutput:
        """Run a step, and stop reading prompts for requests that end meanwhile."""
        if not batch.prompts:
            return self._model.run(batch.spans)
        spans = zip(batch.prompts, batch.spans, strict=False)
        self._reading = [(prompt.request, span.slot) for prompt, span in spans if not span.num_logits]
        try:
            self._stop_reading()  # for whoever was cancelled just before
            deadlines = [request.deadline for request, _ in self._reading if request.deadline is not None]
            with called_at(deadlines, self._stop_reading):
                return self._model.run(batch.spans)
        finally:
            self._reading = ()

    def _stop_reading(self) -> None:
        """Let the model give up the prompts of requests that have to end; in any thread, at any time."""
        unwanted = [slot for request, slot in self._reading if request.is_cancelled or request.is_overdue]
        if unwanted:
            self._model.give_up(unwanted)

    def _give_way(self, batch: Batch, held: Sequence[int], error: OutOfMemoryError) -> None:
        """Take back a step that found no memory, and what asked for it: drafts, or else a prompt.

        Args:
            batch: The step.
            held: How many tokens each slot held before it.
            error: What it ended with.
        """
        prompts = list(zip(batch.prompts, batch.spans, held, strict=False))
        not_run = [sequence for sequence, span, count in prompts if len(span.slot.token_ids) == count]
        for span, count in zip(batch.spans, held, strict=True):
            if len(span.slot.token_ids) > count:
                self._model.cache.truncate(span.slot, count if self._model.cache.can_truncate else 0)
        if any(sequence.draft for strategy, _ in batch.searches for sequence in strategy.sequences):
            self._speculation.pause()
        elif batch.prompts:  # rows that decode need no new memory
            self._fail(self._scheduler.owner_of((not_run or batch.prompts)[-1]), error)
        else:
            raise error

    def _score_prompts(self, batch: Batch, output: StepOutput) -> None:
        """Let the prompts whose log-probabilities are wanted take their logits."""
        for index, sequence in enumerate(batch.prompts):
            num_logits = batch.spans[index].num_logits
            if num_logits:
                with self._alone(self._scheduler.owner_of(sequence)):
                    sequence.take_prompt_logits(output.logits_of(index, num_logits))

    def _end_from_outside(self) -> None:
        """End what nobody wants any more, and what has had its time."""
        for strategy in self._scheduler.cancelled():
            self._finish(strategy, "cancelled")
        for strategy in self._scheduler.overdue():
            self._finish(strategy, "length")

    def _make_room(self) -> None:
        """Make room for one more token of whatever decodes; end what finds none."""
        while True:
            try:
                full = self._scheduler.make_room()
            except NoMemoryError as error:
                self._fail(error.owner, error.cause)
                continue
            for strategy in full:
                self._finish(strategy, "length")
            return

    def _search(self, strategy: Strategy, output: StepOutput, first: int) -> None:
        """Let a strategy take its rows of a step, and retire what ended."""
        with self._alone(strategy):
            if strategy.take(output, first):
                if all(sequence.finish_reason is not None for sequence in strategy.sequences):
                    strategy.request.finish(strategy.finish())
                self._scheduler.release(strategy)

    def _finish(self, strategy: Strategy, reason: FinishReason) -> None:
        """End a request for a reason that is not its sequences' last tokens."""
        with self._alone(strategy):
            strategy.end(reason)
            # Before it leaves the queues, or an interrupt could lose it.
            strategy.request.finish(strategy.finish())
            self._scheduler.release(strategy)

    @contextlib.contextmanager
    def _alone(self, strategy: Strategy) -> Iterator[None]:
        """Let what goes wrong with a request's own rows, text and functions end it, and no other."""
        try:
            yield
        except GenaiError as error:
            self._fail(strategy, error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of a library in Rust is one; the others know nothing of it
            cause = GenerationError(
                f"this request failed by a mistake of genai's: {error!r}; please report it with its traceback"
            )
            cause.__cause__ = error
            self._fail(strategy, cause)

    def _fail(self, strategy: Strategy, error: Exception) -> None:
        """End a request with an error; its slots hold nothing that can be trusted."""
        strategy.request.fail(error)
        self._scheduler.release(strategy, is_sound=False)

    def _abandon(self, error: BaseException, *, and_waiting: bool = False) -> int:
        """End every request that runs with an error, perhaps those that wait, too, and start over with an empty cache.

        Returns:
            How many have ended.
        """
        abandoned = self._scheduler.abandon(and_waiting=and_waiting)
        for request in abandoned:
            cause = error
            if not isinstance(error, GenaiError):
                cause = GenerationError(f"interrupted: {error!r}")
                cause.__cause__ = error
            request.fail(cause)
        self.hand_over()
        return len(abandoned)
