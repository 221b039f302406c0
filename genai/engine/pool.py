"""The engines of a model, each on a device of its own: mostly one.

Owns which engine runs which request. A request stays with its engine, whose cache has its tokens.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from genai.cache import CachedPrefix
from genai.engine.engine import Engine
from genai.engine.request import Request
from genai.engine.workload import Workload

__all__ = ["EnginePool"]

ROW_COST = 32
"""What a sequence that runs or waits on an engine costs another one there, in tokens of a prompt."""


class EnginePool:
    """Spreads requests over engines: where most of a prompt is cached and fewest others run.

    Args:
        engines: At least one; their models must be alike.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)
        self._engine_of: weakref.WeakKeyDictionary[Request, Engine] = weakref.WeakKeyDictionary()
        self._choosing = threading.RLock()  # a signal's handler may submit, or close what it interrupts

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return any(engine.has_work for engine in self.engines)

    def workload(self) -> Workload:
        """Return how much there is to do on all engines together; another thread may ask while a step runs."""
        first, *others = (engine.workload() for engine in self.engines)
        return sum(others, first)

    def submit(self, request: Request) -> None:
        """Queue a request on the engine that will have it done first.

        Raises:
            OptionError: The request can never run.
        """
        with self._choosing:  # so that requests at one time see each other
            engine = self._best_engine(request.prompt_token_ids, request.adapter)
            self._engine_of[request] = engine
            engine.submit(request)

    def advance(self, request: Request) -> None:
        """Take one step of the request's engine, as `Engine.advance`."""
        self._engine_of[request].advance(request)

    def run(self, requests: Sequence[Request]) -> None:
        """Advance until all these requests have ended, every engine in a thread of its own."""
        shares: dict[Engine, list[Request]] = {}
        for request in requests:
            shares.setdefault(self._engine_of[request], []).append(request)
        if not shares:
            return
        (first, own), *others = shares.items()
        if not others:
            first.run(own)
            return
        with ThreadPoolExecutor(len(others)) as executor:  # whose threads have ended when the block has
            futures = [executor.submit(engine.run, share) for engine, share in others]
            try:
                first.run(own)
            except BaseException:  # nobody will wait for the others
                for engine, share in others:
                    for request in share:
                        engine.cancel(request)
                raise
        for future in futures:
            future.result()

    def cancel_soon(self, request: Request) -> None:
        """Ask for a request's end before the next step, as `Engine.cancel_soon`."""
        request.is_cancelled = True  # also of one that is just being submitted
        engine = self._engine_of.get(request)
        if engine is not None:
            engine.cancel_soon(request)

    def cancel(self, request: Request) -> None:
        """End a request with what it has so far, as `Engine.cancel`."""
        request.is_cancelled = True  # also of one that is just being submitted
        engine = self._engine_of.get(request)
        if engine is not None:
            engine.cancel(request)

    def score(
        self, token_ids: Sequence[int], *, num_logits: int | None = None, adapter: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the logits at the last of these tokens, as `Engine.score`."""
        engine = self._best_engine(token_ids, adapter)
        return engine.score(token_ids, num_logits=num_logits, adapter=adapter)

    def compute_prefix(self, token_ids: Sequence[int], *, adapter: str | None = None) -> CachedPrefix:
        """Return what a slot holds of these tokens, as `Engine.compute_prefix`."""
        return self._best_engine(token_ids, adapter).compute_prefix(token_ids, adapter=adapter)

    def write_prefix(self, prefix: CachedPrefix) -> None:
        """Let a slot of every engine hold what another one held, as `Engine.write_prefix`."""
        for engine in self.engines:
            engine.write_prefix(prefix)

    def check(self) -> None:
        """Assert the invariants of every engine; for tests."""
        for engine in self.engines:
            engine.check()

    def _best_engine(self, token_ids: Sequence[int], adapter: str | None) -> Engine:
        if len(self.engines) == 1:
            return self.engines[0]

        def cost(engine: Engine) -> int:
            return engine.num_uncached(token_ids, adapter) + ROW_COST * engine.num_sequences

        return min(self.engines, key=cost)
