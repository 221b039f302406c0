"""Pieces on their way from the threads that run steps to the event loops that wait for them.

Knows no engine and no request. What a step emits is gathered, and each loop is woken once for all of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from genai.engine.results import Piece

if TYPE_CHECKING:
    import asyncio

__all__ = ["Delivery"]

Arrived = Callable[[Piece | None], None]


class Delivery:
    """Gathers pieces for any number of event loops until they are handed over. Safe to use from several threads."""

    def __init__(self) -> None:
        self._outboxes: dict[asyncio.AbstractEventLoop, _Outbox] = {}
        self._adding = threading.Lock()

    def to(self, loop: asyncio.AbstractEventLoop, arrived: Arrived) -> Arrived:
        """Return what gathers pieces for a function that is to be called in an event loop."""
        with self._adding:
            if loop not in self._outboxes:
                open_ones = {each: box for each, box in self._outboxes.items() if not each.is_closed()}
                self._outboxes = {**open_ones, loop: _Outbox(loop)}
            outbox = self._outboxes[loop]
        return lambda piece: outbox.put(arrived, piece)

    def hand_over(self) -> None:
        """Let every loop have what was gathered for it."""
        for outbox in self._outboxes.values():  # of a dict that is replaced, and never changed
            outbox.hand_over()


class _Outbox:
    """What one event loop gets next."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gathered: deque[tuple[Arrived, Piece | None]] = deque()

    def put(self, arrived: Arrived, piece: Piece | None) -> None:
        self._gathered.append((arrived, piece))

    def hand_over(self) -> None:
        if self._gathered:
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop was closed: nobody waits any more
                self._gathered.clear()

    def _deliver(self) -> None:
        """Run in the loop."""
        while self._gathered:
            arrived, piece = self._gathered.popleft()
            arrived(piece)
