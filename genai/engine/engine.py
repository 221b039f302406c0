"""What runs requests over one model: the front of the loop.

Whoever waits for a result drives the loop, one thread at a time: `advance` takes a step, or waits while another
thread does and returns when that step is over. So a plain loop in one thread costs no thread switch per token, and
any number of threads may wait for their own requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from genai.cache import CachedPrefix
from genai.engine.admission import Admission
from genai.engine.loop import Loop
from genai.engine.prompt_budget import PromptBudget
from genai.engine.request import Request
from genai.engine.slot_reading import SlotReading
from genai.engine.speculation import Speculation
from genai.engine.workload import Workload
from genai.model import Model

__all__ = ["Engine"]


class Engine:
    """Runs any number of requests at once over one model.

    Args:
        model: The model.
        prefill_chunk: Most tokens of prompts that run in a step; `None` is what the model computes best, and beside rows that
            decode as many as keep nobody waiting (`PromptBudget`).
        speculation: What guesses sequences ahead; `None` is prompt lookup.
    """

    def __init__(
        self, model: Model, *, prefill_chunk: int | None = None, speculation: Speculation | None = None
    ) -> None:
        self._model = model
        budget = PromptBudget(prefill_chunk or model.prompt_chunk, is_fixed=prefill_chunk is not None)
        self._speculation = Speculation(model) if speculation is None else speculation
        self._admission = Admission(model, self._speculation)
        self._loop = Loop(model, self._speculation, budget)
        self._scheduler, self._turn = self._loop.scheduler, self._loop.turn
        self._slots = SlotReading(model, self._loop, budget, self._admission)

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

    def hand_over_by(self, hand_over: Callable[[], None]) -> None:
        """Have this called whenever something may have been emitted or ended: once a step.

        It is for whoever gathers what requests tell `on_piece`.
        """
        self._loop.hand_over = hand_over

    def submit(self, request: Request) -> None:
        """Queue a request; `advance` runs it.

        Raises:
            OptionError: The request can never run.
        """
        strategy = self._admission.prepare(request)
        request.times.note_submission()
        if len(request.prompt_token_ids) == self._model.context_length and not request.shifts:
            self._loop.finish(strategy, "length")
            return
        with self._turn.changing():
            self._scheduler.waiting.add(strategy)

    def advance(self, request: Request | None = None) -> None:
        """Take one step, or wait for the step that another thread is taking.

        Returns at once if the request has ended or has pieces to fetch.

        Raises:
            GenerationError: This was called from within a step.
        """
        self._loop.advance(lambda: request is not None and bool(request.pieces or request.is_finished))

    def run(self, requests: Sequence[Request]) -> None:
        """Advance until all these requests have ended."""
        left = deque(requests)
        while left:
            if left[0].is_finished:
                left.popleft()
            else:
                self._loop.advance(lambda: left[0].is_finished)

    def cancel_soon(self, request: Request) -> None:
        """Ask for a request's end before the next step, without waiting for it; any thread may, also a signal's handler.

        If the current step computes its prompt, and the model computes that apart from others, it stops.
        """
        request.is_cancelled = True
        self._loop.stop_reading()

    def cancel(self, request: Request) -> None:
        """End a request with what it has so far; does nothing if it has ended.

        It has ended when this returns, unless the caller interrupts a step of its own thread (as a signal handler
        does): then it ends before the next one.
        """
        self.cancel_soon(request)
        if not self._turn.is_held_here:
            with self._turn.held(urgent=True):
                self._loop.end_from_outside()
            self._loop.hand_over()

    def fail_all(self, error: BaseException) -> None:
        """End every request, also those that wait, with an error, and start over with an empty cache."""
        with self._turn.held(urgent=True):
            self._loop.abandon(error, and_waiting=True)

    def check_prompt(self, token_ids: Sequence[int]) -> None:
        """See that the model can be fed these tokens.

        Raises:
            OptionError: They are none, too many, or not of the vocabulary.
        """
        self._admission.check_prompt(token_ids)

    def score(
        self, token_ids: Sequence[int], *, num_logits: int | None = None, adapter: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the logits at the last of these tokens, as `SlotReading.score`."""
        return self._slots.score(token_ids, num_logits=num_logits, adapter=adapter)

    def compute_prefix(self, token_ids: Sequence[int], *, adapter: str | None = None) -> CachedPrefix:
        """Return what a slot holds of these tokens, as `SlotReading.compute_prefix`."""
        return self._slots.compute_prefix(token_ids, adapter=adapter)

    def write_prefix(self, prefix: CachedPrefix) -> None:
        """Let a slot hold what another one held, as `SlotReading.write_prefix`."""
        self._slots.write_prefix(prefix)

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
