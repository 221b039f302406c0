"""Threads that drive engines for callers who must not block, such as an event loop."""

from __future__ import annotations

import contextlib
import logging
import threading

from genai.engine.delivery import Delivery
from genai.engine.engine import Engine
from genai.engine.pool import EnginePool
from genai.engine.request import Request
from genai.engine.results import Piece
from genai.engine.stream import AsyncGenerationStream

__all__ = ["BackgroundDriver"]

logger = logging.getLogger("genai.engine")

CLOSING_SECONDS = 0.1
"""How often a thread that waits for a lock looks whether all closes."""
IDLE_SECONDS = 5.0
"""How long a thread waits for work before it ends, so that a model which nobody holds any more can be freed."""


class BackgroundDriver:
    """Runs the steps of each engine in a thread of its own, as long as there are asynchronous requests."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines
        self._threads: dict[Engine, threading.Thread] = {}
        self._starting = threading.Lock()  # event loops of several threads may share a driver
        self._is_closed = threading.Event()
        self._requests: set[Request] = set()
        self._delivery = Delivery()
        for engine in engines.engines:
            engine.hand_over_by(self._delivery.hand_over)

    def submit(self, request: Request) -> AsyncGenerationStream:
        """Queue a request and return its stream; to be called in a running event loop.

        Raises:
            OptionError: The request can never run.
        """
        import asyncio  # 6 MB that only asynchronous callers need, and have

        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Piece | None] = asyncio.Queue()

        gather = self._delivery.to(loop, arrived.put_nowait)

        def on_piece(piece: Piece | None) -> None:
            if piece is None:
                self._requests.discard(request)
            gather(piece)

        request.on_piece = on_piece
        self._requests.add(request)
        try:
            self._engines.submit(request)
        except BaseException:
            self._requests.discard(request)
            raise
        self._start()
        if self._is_closed.is_set():  # `close` may have missed this request
            self._engines.cancel(request)
        self._delivery.hand_over()  # of a request that ends at once
        return AsyncGenerationStream(self._engines, request, arrived)

    def close(self) -> None:
        """Stop the threads after their current steps, and cancel the requests that are still waited for."""
        self._is_closed.set()
        for engine, thread in tuple(self._threads.items()):
            engine.wake()
            thread.join()
        for request in tuple(self._requests):
            self._engines.cancel(request)

    def _start(self) -> None:
        with self._starting:
            for engine in self._engines.engines:
                if engine not in self._threads:
                    thread = threading.Thread(
                        target=self._drive, args=(engine,), name="genai-engine", daemon=True
                    )
                    thread.start()  # first: a signal's handler may close this, and join what is listed
                    self._threads[engine] = thread

    def _drive(self, engine: Engine) -> None:
        """Be an engine's thread: where it dies, whoever waits hears why, and the next request starts another."""
        try:
            self._take_steps(engine)
        except BaseException as error:
            logger.exception("the thread of an engine has failed")
            self._unlist(engine)  # first: what is submitted from now on starts a thread
            engine.fail_all(error)

    def _unlist(self, engine: Engine) -> None:
        """Take an engine's thread off the list; not where this closes, perhaps by what a signal has interrupted in `_start`."""
        while not self._is_closed.is_set():
            if self._starting.acquire(timeout=CLOSING_SECONDS):
                self._threads.pop(engine, None)
                self._starting.release()
                return

    def _take_steps(self, engine: Engine) -> None:
        is_closed = self._is_closed.is_set
        while not is_closed():
            if engine.wait_for_work(IDLE_SECONDS, unless=is_closed):
                with contextlib.suppress(BaseException):  # whoever waits hears of it by the requests
                    engine.advance()
            elif self._ends_idle(engine):
                return

    def _ends_idle(self, engine: Engine) -> bool:
        """Take an engine's thread off the list, unless work has come meanwhile or comes just now."""
        if not self._starting.acquire(
            blocking=False
        ):  # by what a signal has interrupted, whose handler waits for this
            return False
        try:
            if engine.has_work:
                return False
            del self._threads[engine]
            return True
        finally:
            self._starting.release()
