"""Threads that drive engines for event loops: how often they wake them, and what becomes of a thread that dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from genai.engine import BackgroundDriver, Engine, EnginePool, Request
from tests.engine.test_engine import request
from tests.fakes import FakeModel

NUM_STREAMS, NUM_TOKENS = 16, 20


def driver_of(model: FakeModel) -> BackgroundDriver:
    return BackgroundDriver(EnginePool([Engine(model)]))


async def read(driver: BackgroundDriver, each: Request) -> list[int]:
    return [token_id async for piece in driver.submit(each) for token_id in piece.token_ids]


async def test_a_loop_is_woken_once_a_step_however_many_streams_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(max_batch=NUM_STREAMS)
    driver, loop = driver_of(model), asyncio.get_running_loop()
    num_woken = 0

    def count(callback: Any, *args: Any, wake: Any = loop.call_soon_threadsafe, **rest: Any) -> Any:
        nonlocal num_woken
        num_woken += 1
        return wake(callback, *args, **rest)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    requests = [request([i, 7], max_new_tokens=NUM_TOKENS, stream=True) for i in range(NUM_STREAMS)]
    answers = await asyncio.gather(*(read(driver, each) for each in requests))
    assert answers == [model.expected([i, 7], NUM_TOKENS) for i in range(NUM_STREAMS)]
    assert num_woken <= len(model.runs) < NUM_STREAMS * NUM_TOKENS
    driver.close()


async def test_what_ends_at_once_is_handed_over() -> None:
    driver = driver_of(FakeModel(context_length=20))
    full = request(range(20), stream=True)
    assert await asyncio.wait_for(read(driver, full), 5) == []
    assert full.result is not None
    driver.close()


def test_loops_that_follow_each_other_get_what_is_theirs() -> None:
    model = FakeModel()
    driver = driver_of(model)
    for first in range(3):
        each = request([first, 3], stream=True)
        assert asyncio.run(read(driver, each)) == model.expected([first, 3], 8)
    assert len(driver._delivery._outboxes) == 1
    driver.close()
