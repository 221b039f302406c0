"""Whose turn it is: of the threads that want something of a model, one at a time has it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from genai.errors import GenerationError

__all__ = ["Turn"]


class Turn:
    """A lock whose waiters may be served by somebody else's turn, and of which some are more urgent."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner: int | None = None
        self._num_urgent = 0

    @property
    def is_held_here(self) -> bool:
        """Whether this thread has the turn."""
        return self._owner == threading.get_ident()

    @contextlib.contextmanager
    def held(self, is_served: Callable[[], bool] = lambda: False, *, urgent: bool = False) -> Iterator[bool]:
        """Wait for the turn and hold it; yield False, without the turn, once whoever waits needs none any more.

        Whoever is urgent goes before those who only want the next step, or a thread that steps without pause would
        never let another in.

        Raises:
            GenerationError: This thread has the turn already.
        """
        if self.is_held_here:
            raise GenerationError(
                "the model was called from within a step of its own (by a function among a request's options, or a "
                "signal's handler), which would wait for itself: call it between steps, or load it once more"
            )
        try:
            with self._changed:
                self._num_urgent += urgent
                try:
                    while (self._owner or (self._num_urgent and not urgent)) and not is_served():
                        self._changed.wait()
                finally:
                    self._num_urgent -= urgent
                    if urgent:
                        self._changed.notify_all()  # an interrupted wait ends no turn that would wake the others
                if has_turn := not is_served():
                    self._owner = threading.get_ident()
            yield has_turn
        finally:
            if self.is_held_here:
                with self.changing():
                    self._owner = None

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Change what others may wait for, and wake them."""
        with self._changed:
            yield
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until something is true, or for so long."""
        with self._changed:
            self._changed.wait_for(condition, timeout_seconds)
