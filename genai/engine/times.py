"""When a request came to each stage of its life: what a server draws its traces from."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["RequestTimes"]


@dataclass(slots=True)
class RequestTimes:
    """When a request came to each stage, as `time.perf_counter` has it; `None` where it has not yet, or never did.

    Args:
        submitted: It was queued.
        admitted: It first got slots of the KV cache.
        first_token: It first got a token.
        ended: It ended, well or not.
    """

    submitted: float = field(default_factory=time.perf_counter)
    admitted: float | None = None
    first_token: float | None = None
    ended: float | None = None

    def note_submission(self) -> None:
        """Take the time at which it was queued."""
        self.submitted = time.perf_counter()

    def note_admission(self) -> None:
        """Take the time, if this is the first time that it gets slots."""
        if self.admitted is None:
            self.admitted = time.perf_counter()

    def note_first_token(self) -> None:
        """Take the time, if this is the first token."""
        if self.first_token is None:
            self.first_token = time.perf_counter()

    def note_end(self) -> float:
        """Take the time of the end, and return it."""
        self.ended = time.perf_counter()
        return self.ended
