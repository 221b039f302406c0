"""Calls at given times beside a block that cannot look at the clock, such as a run of a model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

__all__ = ["called_at"]


@contextlib.contextmanager
def called_at(moments: Sequence[float], function: Callable[[], None]) -> Iterator[None]:
    """Call a function in a thread of its own at each of these times, as long as the block lasts.

    Args:
        moments: The times, as `time.perf_counter` has them; without any there is no thread.
        function: What is called; once it may be when the block has just ended.
    """
    if not moments:
        yield
        return
    has_ended = threading.Event()

    def watch() -> None:
        for moment in sorted(moments):
            while (seconds := moment - time.perf_counter()) > 0:  # a wait may end a little early
                if has_ended.wait(min(seconds, threading.TIMEOUT_MAX)):
                    return
            function()

    threading.Thread(target=watch, name="genai-deadlines", daemon=True).start()
    try:
        yield
    finally:
        has_ended.set()
