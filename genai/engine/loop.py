"""The decoding loop: one step is schedule, run, sample, commit, emit.

Owns what a step does, and what becomes of requests where one fails. Knows no front: who submits, waits or cancels is the
engine's business.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from genai.cache import Slot
from genai.engine.deadlines import called_at
from genai.engine.prompt_budget import PromptBudget
from genai.engine.request import Request
from genai.engine.results import FinishReason
from genai.engine.scheduler import Batch, NoMemoryError, Scheduler
from genai.engine.speculation import Speculation
from genai.engine.strategies import Strategy
from genai.engine.turn import Turn
from genai.errors import GenaiError, GenerationError, OutOfMemoryError
from genai.model import Model, StepOutput

__all__ = ["Loop"]


class Loop:
    """Takes the steps of one model, one thread at a time.

    Args:
        model: The model.
        speculation: What guesses sequences ahead.
        budget: How many tokens of prompts run in a step.

    `hand_over` is called whenever something may have been emitted or ended, once a step.
    """

    def __init__(self, model: Model, speculation: Speculation, budget: PromptBudget) -> None:
        self.scheduler = Scheduler(model, speculation, budget)
        self.turn = Turn()
        self.hand_over: Callable[[], None] = lambda: None
        self._model = model
        self._speculation = speculation
        self._budget = budget
        self._reading: Sequence[tuple[Request, Slot]] = ()  # whose prompts the current step reads

    def advance(self, is_served: Callable[[], bool] = lambda: False) -> None:
        """Take one step, or wait for the step that another thread is taking, unless whoever waits is served by then.

        Raises:
            GenerationError: This was called from within a step.
        """
        with self.turn.held(is_served) as has_turn:
            if not has_turn:
                return
            try:
                self._step()
            except BaseException as error:
                # Whatever interrupted the step (a failed run, Ctrl-C) left some rows committed and others not.
                if not self.abandon(error) and not isinstance(error, KeyboardInterrupt):
                    # What waits would fail alike at the next step, and so for ever.
                    self.abandon(error, and_waiting=True)
                if not isinstance(error, GenaiError):
                    raise
            self.hand_over()

    def end_from_outside(self) -> None:
        """End what nobody wants any more, and what has had its time."""
        for strategy in self.scheduler.cancelled():
            self.finish(strategy, "cancelled")
        for strategy in self.scheduler.overdue():
            self.finish(strategy, "length")

    def stop_reading(self) -> None:
        """Let the model give up the prompts of requests that have to end; in any thread, at any time."""
        unwanted = [slot for request, slot in self._reading if request.is_cancelled or request.is_overdue]
        if unwanted:
            self._model.give_up(unwanted)

    def finish(self, strategy: Strategy, reason: FinishReason) -> None:
        """End a request for a reason that is not its sequences' last tokens."""
        with self._alone(strategy):
            strategy.end(reason)
            # Before it leaves the queues, or an interrupt could lose it.
            strategy.request.finish(strategy.finish())
            self.scheduler.release(strategy)

    def abandon(self, error: BaseException, *, and_waiting: bool = False) -> int:
        """End every request that runs with an error, perhaps those that wait, too, and start over with an empty cache.

        Returns:
            How many have ended.
        """
        abandoned = self.scheduler.abandon(and_waiting=and_waiting)
        for request in abandoned:
            cause = error
            if not isinstance(error, GenaiError):
                cause = GenerationError(f"interrupted: {error!r}")
                cause.__cause__ = error
            request.fail(cause)
        self.hand_over()
        return len(abandoned)

    def _step(self) -> None:
        self.end_from_outside()
        self._make_room()
        self.scheduler.admit(self._fail)
        batch = self.scheduler.batch()
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
            self.scheduler.prompts.note_run(batch.prompts)
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
            self.stop_reading()  # for whoever was cancelled just before
            deadlines = [request.deadline for request, _ in self._reading if request.deadline is not None]
            with called_at(deadlines, self.stop_reading):
                return self._model.run(batch.spans)
        finally:
            self._reading = ()

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
            self._fail(self.scheduler.owner_of((not_run or batch.prompts)[-1]), error)
        else:
            raise error

    def _score_prompts(self, batch: Batch, output: StepOutput) -> None:
        """Let the prompts whose log-probabilities are wanted take their logits."""
        for index, sequence in enumerate(batch.prompts):
            num_logits = batch.spans[index].num_logits
            if num_logits:
                with self._alone(self.scheduler.owner_of(sequence)):
                    sequence.take_prompt_logits(output.logits_of(index, num_logits))

    def _make_room(self) -> None:
        """Make room for one more token of whatever decodes; end what finds none."""
        while True:
            try:
                full = self.scheduler.make_room()
            except NoMemoryError as error:
                self._fail(error.owner, error.cause)
                continue
            for strategy in full:
                self.finish(strategy, "length")
            return

    def _search(self, strategy: Strategy, output: StepOutput, first: int) -> None:
        """Let a strategy take its rows of a step, and retire what ended."""
        with self._alone(strategy):
            if strategy.take(output, first):
                if all(sequence.finish_reason is not None for sequence in strategy.sequences):
                    strategy.request.finish(strategy.finish())
                self.scheduler.release(strategy)

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
        self.scheduler.release(strategy, is_sound=False)
