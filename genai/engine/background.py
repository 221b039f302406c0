"""A thread that drives an engine for callers who must not block, such as an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator

from genai.engine.engine import Engine
from genai.engine.request import Request
from genai.engine.results import Piece

__all__ = ["BackgroundDriver"]

IDLE_SECONDS = 0.1
"""How long the thread sleeps before it looks whether it was closed."""


class BackgroundDriver:
    """Runs an engine's steps in a thread of its own, from the first asynchronous request on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # event loops of several threads may share a driver
        self._is_closed = threading.Event()
        self._requests: set[Request] = set()

    async def pieces(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Submit a request and yield its pieces as they come; leaving the loop early cancels it.

        Raises:
            OptionError: The request can never run.
            GenaiError: The generation failed.
        """
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Piece | None] = asyncio.Queue()

        def deliver(piece: Piece | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(arrived.put_nowait, piece)

        request.on_piece = deliver
        self._engine.submit(request)
        self._requests.add(request)
        try:
            self._start()
            if self._is_closed.is_set():  # `close` may have missed this request
                self._engine.cancel(request)
            while (piece := await arrived.get()) is not None:
                yield piece
            if request.error is not None:
                raise request.error
        finally:
            self._requests.discard(request)
            if not request.is_finished:
                await asyncio.shield(asyncio.to_thread(self._engine.cancel, request))

    def close(self) -> None:
        """Stop the thread after its current step, and cancel the requests that are still waited for."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()
        for request in tuple(self._requests):
            self._engine.cancel(request)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._drive, name="genai-engine", daemon=True)
                self._thread.start()

    def _drive(self) -> None:
        while not self._is_closed.is_set():
            if self._engine.wait_for_work(IDLE_SECONDS):
                with contextlib.suppress(Exception):  # the requests that it ended carry it to whoever waits
                    self._engine.advance()
