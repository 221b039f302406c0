"""Threads that drive engines for event loops: how often they wake them, and what becomes of a thread that dies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from genai.engine import AsyncGenerationStream, BackgroundDriver, Engine, EnginePool, Request
from genai.errors import GenerationError
from genai.model import Span
from tests.engine.test_engine import request
from tests.engine.test_troubles import Panic
from tests.fakes import FakeModel

NUM_STREAMS, NUM_TOKENS = 16, 20


def driver_of(model: FakeModel) -> BackgroundDriver:
    return BackgroundDriver(EnginePool([Engine(model)]))


async def read(driver: BackgroundDriver, each: Request) -> list[int]:
    return await tokens_of(driver.submit(each))


async def tokens_of(stream: AsyncGenerationStream) -> list[int]:
    return [token_id async for piece in stream for token_id in piece.token_ids]


async def test_a_loop_is_woken_once_a_step_however_many_streams_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(max_batch=NUM_STREAMS)
    driver, loop = driver_of(model), asyncio.get_running_loop()
    num_woken, run_model = 0, model.run
    are_submitted = threading.Event()

    def run_when_submitted(batch: Sequence[Span]) -> Any:
        # a submission that comes while a step emits may wake the loop once more
        assert are_submitted.wait(60)
        return run_model(batch)

    def count(callback: Any, *args: Any, wake: Any = loop.call_soon_threadsafe, **rest: Any) -> Any:
        nonlocal num_woken
        num_woken += 1
        return wake(callback, *args, **rest)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    requests = [request([i, 7], max_new_tokens=NUM_TOKENS, stream=True) for i in range(NUM_STREAMS)]
    monkeypatch.setattr(model, "run", run_when_submitted)
    streams = [driver.submit(each) for each in requests]
    are_submitted.set()
    answers = await asyncio.gather(*map(tokens_of, streams))
    assert answers == [model.expected([i, 7], NUM_TOKENS) for i in range(NUM_STREAMS)]
    assert num_woken <= len(model.runs) < 3 * NUM_TOKENS
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


async def test_a_panic_in_a_step_ends_what_ran_and_nothing_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = FakeModel(max_batch=1)
    driver, run_model = driver_of(model), model.run

    def panic_once(batch: Sequence[Span]) -> Any:
        monkeypatch.setattr(model, "run", run_model)
        raise Panic("index out of bounds")

    monkeypatch.setattr(model, "run", panic_once)
    reading = [asyncio.create_task(read(driver, request([first, 3], stream=True))) for first in (4, 5)]
    with pytest.raises(GenerationError, match="index out of bounds"):
        await asyncio.wait_for(reading[0], 5)
    assert await asyncio.wait_for(reading[1], 5) == model.expected([5, 3], 8)
    driver.close()


@pytest.mark.parametrize("where", ["cancelled", "overdue"])
async def test_what_fails_at_each_step_ends_all_who_wait_instead_of_being_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model = FakeModel()
    driver = driver_of(model)

    def panic() -> Any:
        raise Panic("at every step")

    with monkeypatch.context() as patch:
        patch.setattr(driver._engines.engines[0]._scheduler, where, panic)
        with pytest.raises(GenerationError, match="at every step"):
            await asyncio.wait_for(read(driver, request(stream=True)), 5)
    await _answers_again(driver, model)


async def test_a_thread_that_died_is_started_again_by_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = FakeModel()
    driver = driver_of(model)

    def panic(*args: Any, **options: Any) -> Any:
        raise Panic("while it waited")

    with monkeypatch.context() as patch:
        patch.setattr(driver._engines.engines[0], "wait_for_work", panic)
        with pytest.raises(GenerationError, match="while it waited"):
            await asyncio.wait_for(read(driver, request(stream=True)), 5)
    await _answers_again(driver, model)


async def _answers_again(driver: BackgroundDriver, model: FakeModel) -> None:
    after = request([4, 4], stream=True)
    assert await asyncio.wait_for(read(driver, after), 5) == model.expected([4, 4], 8)
    driver._engines.check()
    driver.close()
