"""What the routes of one server share: its models, its counters, and whether it takes requests."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from genai.server.metrics import Metrics
from genai.server.models import ServedModels
from genai.wire import ApiError

__all__ = ["Admission", "ServerState", "ended_error"]


@dataclass(slots=True, kw_only=True)
class Admission:
    """Whether a server takes requests, and what it counts of them.

    Args:
        max_requests: Most requests that run or wait at a time.
        max_requests_per_key: Most of these that one client's keys may have; `None` leaves it at that.
        metrics: The counters.
        is_draining: Whether it takes no more requests, because it is about to end.
        is_cut: Whether it does not wait for those that run, either.
        num_requests: Requests that run or wait.
        num_requests_of: How many of them are each client's; who has none is not in it.
    """

    max_requests: int
    max_requests_per_key: int | None = None
    metrics: Metrics = field(default_factory=Metrics)
    is_draining: bool = False
    is_cut: bool = False
    num_requests: int = 0
    num_requests_of: Counter[str] = field(default_factory=Counter)
    _cuts: set[Callable[[], object]] = field(default_factory=set)

    @contextlib.contextmanager
    def admitted(self, client: str | None) -> Iterator[None]:
        """Count a request among those that run or wait, as long as the block lasts.

        Args:
            client: Whose key it has.

        Raises:
            ApiError: There are too many, or too many of this client, or the server is about to end.
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
        if client is not None:
            self._check_share(client)
        self.num_requests += 1
        self.num_requests_of.update(_one(client))
        self.metrics.running.set(self.num_requests)
        try:
            yield
        finally:
            self.num_requests -= 1
            self.num_requests_of -= _one(client)  # which drops those that have none left
            self.metrics.running.set(self.num_requests)

    @contextlib.contextmanager
    def ended_by(self, cut: Callable[[], object]) -> Iterator[None]:
        """Have something called if the server is ended by force while the block lasts."""
        self._cuts.add(cut)
        try:
            yield
        finally:
            self._cuts.discard(cut)

    def cut(self) -> None:
        """End what runs: answers that can still say so do."""
        self.is_draining = self.is_cut = True
        for cut in tuple(self._cuts):
            cut()

    def check_not_cut(self) -> None:
        """See that an answer has ended by itself.

        Raises:
            ApiError: The server was ended before it had.
        """
        if self.is_cut:
            raise ended_error()

    def _check_share(self, client: str) -> None:
        num_own = self.num_requests_of[client]
        if self.max_requests_per_key is not None and num_own >= self.max_requests_per_key:
            raise ApiError(
                f"{num_own} requests of this key run or wait already: come back later",
                status=429,
                code="key_limit_exceeded",
                headers={"Retry-After": "1"},
            )


def ended_error() -> ApiError:
    """Return what a client is told whose answer was cut by the server's end."""
    return ApiError(
        "the server was ended before the answer was: ask another one",
        status=503,
        code="server_ended",
        headers={"Retry-After": "10"},
    )


def _one(client: str | None) -> Counter[str]:
    return Counter() if client is None else Counter({client: 1})


@dataclass(slots=True, kw_only=True)
class ServerState(Admission):
    """What the routes of one server share.

    Args:
        models: The models.
    """

    models: ServedModels
