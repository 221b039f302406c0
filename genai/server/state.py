"""What the routes of one server share: its models, its counters, and whether it takes requests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from genai.server.metrics import Metrics
from genai.server.models import ServedModels
from genai.wire import ApiError

__all__ = ["Admission", "ServerState"]


@dataclass(slots=True, kw_only=True)
class Admission:
    """Whether a server takes requests, and what it counts of them.

    Args:
        max_requests: Most requests that run or wait at a time.
        metrics: The counters.
        is_draining: Whether it takes no more requests, because it is about to end.
        num_requests: Requests that run or wait.
    """

    max_requests: int
    metrics: Metrics = field(default_factory=Metrics)
    is_draining: bool = False
    num_requests: int = 0

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request among those that run or wait, as long as the block lasts.

        Raises:
            ApiError: There are too many, or the server is about to end.
        """
        if self.is_draining:
            raise ApiError(
                "the server is shutting down: ask another one",
                status=503,
                code="draining",
                headers={"Retry-After": "10"},
            )
        if self.num_requests >= self.max_requests:
            raise ApiError(
                f"{self.num_requests} requests run or wait already: come back later",
                status=429,
                code="rate_limit_exceeded",
                headers={"Retry-After": "1"},
            )
        self.num_requests += 1
        self.metrics.running.set(self.num_requests)
        try:
            yield
        finally:
            self.num_requests -= 1
            self.metrics.running.set(self.num_requests)


@dataclass(slots=True, kw_only=True)
class ServerState(Admission):
    """What the routes of one server share.

    Args:
        models: The models.
    """

    models: ServedModels
