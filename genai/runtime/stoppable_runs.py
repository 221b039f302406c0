"""Runs of prompts that another thread may end early, because nobody wants what they compute any more.

ONNX Runtime looks at a run's `terminate` between two nodes. What such a run has written lies behind the tokens of its slots, or
in the side of a state that nobody reads, so that the slots are as they were.
"""

from __future__ import annotations

from collections.abc import Collection

from genai.cache import Slot
from genai.errors import GenerationError
from genai.runtime.binding import Binding, run

__all__ = ["GivenUpError", "StoppableRuns"]


class GivenUpError(Exception):
    """A run was given up, or not begun; its slots are as they were."""


class StoppableRuns:
    """The run of prompts that is being computed, if there is one, and whom nobody wants.

    No thread waits for another: whoever runs says so before it looks whom nobody wants, and whoever gives up says so before it
    looks what runs, so that one of them sees the other. Whom nobody wants is one set that only grows until `reset`, by
    operations that no thread comes between, so that of several who give up none undoes what another said.
    """

    def __init__(self) -> None:
        self._unwanted: set[Slot] = set()
        self._current: tuple[frozenset[Slot], Binding] | None = None

    def give_up(self, slots: Collection[Slot]) -> None:
        """End the run if it is of these slots alone, and begin no other that is; until `reset`. Any thread may ask."""
        self._unwanted.update(tuple(slots))
        current = self._current
        if current is not None and current[0] <= self._unwanted:
            current[1].stop()

    def reset(self) -> None:
        """Want everything again."""
        self._unwanted.clear()

    def run(self, binding: Binding, slots: Collection[Slot]) -> None:
        """Run a binding that is run only once.

        Raises:
            GivenUpError: The run was given up.
            GenerationError: ONNX Runtime failed.
        """
        running = frozenset(slots)
        self._current = running, binding
        try:
            if running <= self._unwanted:
                raise GivenUpError
            run(binding)
        except GenerationError as error:
            if running <= self._unwanted and "terminate flag" in str(error):
                raise GivenUpError from error
            raise
        finally:
            self._current = None
