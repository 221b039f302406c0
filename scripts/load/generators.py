"""Who asks: as many clients as there are, each when its answer has come, or whoever arrives, whether answers come or not."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from .client import Record, ask, make_client
from .processes import Usage, measure_usage
from .servers import Running
from .workload import Ask

__all__ = ["Outcome", "Timing", "closed_loop", "open_loop"]

FIRST = Ask("first", range(100, 108), 2)
"""Sent, and answered, before there is load: what a server makes only when it is asked is no part of it."""
DRAIN_SECONDS = 60.0
"""How long answers are waited for that have not ended when the time is over."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long there is load.

    Args:
        warm_up_seconds: At first, which does not count.
        seconds: After it, which does.
    """

    warm_up_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a load.

    Args:
        is_closed: Whether a number of clients made it.
        records: Of all requests, in the order in which they were due.
        start: When it began to count, by `time.perf_counter`.
        end: When it was over; answers may have come later.
        usage: What it took.
    """

    is_closed: bool
    records: Sequence[Record]
    start: float
    end: float
    usage: Usage


class Send(Protocol):
    """What one client does: `ask`, or something worse."""

    def __call__(
        self, client: httpx.AsyncClient, wanted: Ask, record: Record, *, body: Mapping[str, Any]
    ) -> Coroutine[Any, Any, None]:
        """Send a request, and note what comes of it."""
        ...


Loop = Callable[[httpx.AsyncClient, float, list[Record]], Coroutine[Any, Any, None]]


def closed_loop(running: Running, num_clients: int, asks: Iterator[Ask], timing: Timing) -> Outcome:
    """Put the load of so many clients on a server, each of which asks again as soon as it is answered.

    When the time is over they go away, wherever their answers are.
    """

    async def load(client: httpx.AsyncClient, end: float, records: list[Record]) -> None:
        async def one_client() -> None:
            while time.perf_counter() < end:
                await _ask(client, running, next(asks), time.perf_counter(), records)

        clients = [asyncio.create_task(one_client()) for _ in range(num_clients)]
        await _end(clients, seconds=end - time.perf_counter())

    return _run(running, load, timing, is_closed=True)


def open_loop(
    running: Running, seconds: Iterator[float], asks: Iterator[Ask], timing: Timing, *, send: Send = ask
) -> Outcome:
    """Put the load of whoever arrives at these seconds on a server, whether it keeps up or not.

    Answers that have not come in a while after the time is over are unfinished: errors.
    """

    async def load(client: httpx.AsyncClient, end: float, records: list[Record]) -> None:
        begin, tasks = time.perf_counter(), []
        for due in itertools.takewhile(lambda due: due < end, (begin + second for second in seconds)):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(_ask(client, running, next(asks), due, records, send)))
        await _end(tasks, seconds=max(0.0, end - time.perf_counter()) + DRAIN_SECONDS)
        for record in records:
            if not record.is_over and record.error is None:
                record.error = "unfinished"

    return _run(running, load, timing, is_closed=False)


def _run(running: Running, load: Loop, timing: Timing, *, is_closed: bool) -> Outcome:
    async def measured() -> Outcome:
        records: list[Record] = []
        async with make_client(running.url) as client:
            await ask(client, FIRST, Record(FIRST.kind, len(FIRST.prompt), 0.0), body=running.body)
            start = time.perf_counter() + timing.warm_up_seconds
            end = start + timing.seconds
            usage = asyncio.create_task(
                measure_usage(running.pid, after=timing.warm_up_seconds, seconds=timing.seconds)
            )
            await load(client, end, records)
        return Outcome(is_closed, records, start, end, await usage)

    return asyncio.run(measured())


async def _ask(
    client: httpx.AsyncClient,
    running: Running,
    wanted: Ask,
    due: float,
    records: list[Record],
    send: Send = ask,
) -> None:
    record = Record(wanted.kind, len(wanted.prompt), due)
    records.append(record)
    await send(client, wanted, record, body=running.body)


async def _end(tasks: Sequence[asyncio.Task[None]], *, seconds: float) -> None:
    """Wait so long for all to end, and stop those that have not; raise what one raised."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    for found in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(found, Exception):
            raise found
