"""Ctrl-C while a generation runs: a request to stop that is honoured between two steps, not an exception in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["Interruption", "interrupts_call"]


class Interruption:
    """Whether Ctrl-C was pressed."""

    happened = False


@contextlib.contextmanager
def interrupts_call(stop: Callable[[], None]) -> Iterator[Interruption]:
    """Call `stop` at each Ctrl-C within the block instead of raising KeyboardInterrupt.

    Signals belong to the main thread; in any other the block runs as it is.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        interruption.happened = True
        stop()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield interruption
    finally:
        # None: a handler that was not installed from Python, which Python cannot put back.
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)
