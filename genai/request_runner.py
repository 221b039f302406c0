"""The life of requests in a loaded model, from submission to result, and the end of the model.

Knows no text, no prompt and no folder: requests come made.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import weakref
from collections.abc import Sequence

from genai.engine import AsyncGenerationStream, EnginePool, GenerationResult, Request
from genai.errors import GenerationError, OptionError
from genai.loaded_model import LoadedModel

__all__ = ["RequestRunner"]


class RequestRunner:
    """Runs requests in a model until it is closed. Safe to call from several threads, and from a signal's handler.

    Args:
        loaded: The model, which belongs to the runner from now on.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded: LoadedModel | None = loaded
        self._submitted: weakref.WeakSet[Request] = weakref.WeakSet()
        self._submitting = threading.RLock()  # a signal's handler may close what it interrupts

    @property
    def loaded(self) -> LoadedModel:
        """The model.

        Raises:
            GenerationError: It was closed.
        """
        loaded = self._loaded  # once: another thread, or a signal's handler, may close it
        if loaded is None:
            raise GenerationError("this Generator was closed; make a new one")
        return loaded

    @property
    def is_closed(self) -> bool:
        """Whether the model was closed."""
        return self._loaded is None

    def submit(self, requests: Sequence[Request]) -> EnginePool:
        """Submit all, or none if one of them cannot run; return what runs them.

        Raises:
            OptionError: One of them can never run, or was submitted before.
        """
        engines = self.loaded.engines
        claimed: list[Request] = []
        try:
            with self._submitting:  # so that `close` either finds these requests or keeps them out
                _ = self.loaded
                for request in requests:
                    self._claim(request)
                    claimed.append(request)
                    engines.submit(request)
                if (
                    self._loaded is None
                ):  # a signal's handler has closed it meanwhile and may have missed some
                    _cancel(engines, requests)
            return engines
        except BaseException:  # an interrupt, too, after which nobody would read what is queued
            _cancel(engines, claimed)
            raise

    def submit_in_background(self, request: Request) -> AsyncGenerationStream:
        """Submit a request that a thread runs; to be called in a running event loop.

        Raises:
            OptionError: As for `submit`.
        """
        with self._submitting:
            background = self.loaded.background
            self._claim(request)
            return background.submit(request)

    def run(self, requests: Sequence[Request]) -> list[GenerationResult]:
        """Submit requests, run them to their ends and return their results, in order.

        Raises:
            OptionError: As for `submit`.
            GenerationError: The model failed to run, or one of the requests did; then it has the others' results.
        """
        engines = self.submit(requests)
        try:
            engines.run(requests)
            return _results_of(requests)
        finally:
            _cancel(engines, requests)

    async def run_in_background(self, request: Request) -> GenerationResult:
        """Submit a request, have a thread run it, and return its result; raises as `run`."""
        async with contextlib.aclosing(self.submit_in_background(request)) as stream:
            async for _ in stream:
                pass
        return _result_of(request)

    def close(self) -> None:
        """End what runs as cancelled, in any thread or event loop, and let go of the model; twice is once."""
        with self._submitting:
            loaded, self._loaded = self._loaded, None
            submitted = list(self._submitted)
        if loaded is not None:
            loaded.close()
            _cancel(loaded.engines, submitted)

    def _claim(self, request: Request) -> None:
        if not isinstance(request, Request):
            raise OptionError(f"a request of build_request is expected, not {request!r:.200}")
        if request in self._submitted:
            raise OptionError("this request was submitted before: build another one")
        self._submitted.add(request)


def _cancel(engines: EnginePool, requests: Sequence[Request]) -> None:
    for request in requests:
        if not request.is_finished:
            engines.cancel(request)


def _results_of(requests: Sequence[Request]) -> list[GenerationResult]:
    results: list[GenerationResult | None] = []
    first: GenerationError | None = None
    for request in requests:
        try:
            results.append(_result_of(request))
        except GenerationError as error:
            results.append(None)
            first = first or error
    if first is None:
        return [result for result in results if result is not None]
    if len(requests) == 1:
        raise first
    failure = copy.copy(
        first
    )  # a model's failure is one error for all callers, who have results of their own
    failure.results = tuple(results)
    failure.__cause__ = first.__cause__
    raise failure.with_traceback(first.__traceback__)


def _result_of(request: Request) -> GenerationResult:
    if request.error is not None:
        raise request.error
    assert request.result is not None
    return request.result
