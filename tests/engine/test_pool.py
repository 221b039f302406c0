"""Several engines behind one face: requests are spread, and answered as one engine alone answers them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import genai.loaded_model
from genai import Generator
from genai.engine import BackgroundDriver, Engine, EnginePool
from genai.errors import GenerationError, OptionError
from genai.runtime import Decoder
from tests.engine.test_engine import request
from tests.fakes import FakeModel


def pool_of(count: int, **options: Any) -> tuple[list[FakeModel], EnginePool]:
    models = [FakeModel(**options) for _ in range(count)]
    return models, EnginePool([Engine(model) for model in models])


def test_requests_are_spread_and_answered_as_ever() -> None:
    models, pool = pool_of(3)
    requests = [request([10 + i, 2], max_new_tokens=12) for i in range(9)]
    for each in requests:
        pool.submit(each)
    assert [engine.num_sequences for engine in pool.engines] == [3, 3, 3]
    pool.run(requests)
    for i, each in enumerate(requests):
        assert each.result is not None
        assert list(each.result.token_ids) == models[0].expected([10 + i, 2], 12)
    assert all(model.runs for model in models)
    assert not pool.has_work
    pool.run([])


def test_a_conversation_goes_where_its_beginning_is_cached() -> None:
    _, pool = pool_of(3)
    beginnings = [[100 + i] * 40 for i in range(3)]
    first = [request(each, max_new_tokens=2) for each in beginnings]
    for each in first:
        pool.submit(each)
    homes = [pool._engine_of[each] for each in first]
    assert len(set(homes)) == 3
    pool.run(first)
    for beginning, home in zip(reversed(beginnings), reversed(homes), strict=True):
        second = request([*beginning, 7], max_new_tokens=2)
        pool.submit(second)
        assert pool._engine_of[second] is home
        pool.run([second])
        assert second.result is not None
        assert second.result.stats.cached_prompt_tokens == 40


class TakenWhileRead(list[int]):
    """A slot's tokens, which a step in another thread takes away as soon as somebody has asked how many they are."""

    def __init__(self, tokens: list[int], step: Callable[[], None]) -> None:
        super().__init__(tokens)
        self.step = step
        self.num_asked = 0

    def __len__(self) -> int:
        found = super().__len__()
        self.num_asked += 1
        if self.num_asked == 1:
            thread = threading.Thread(target=self.step)
            thread.start()
            thread.join()
        return found


def test_a_prefix_is_looked_up_while_a_step_takes_its_slot() -> None:
    models, pool = pool_of(2)
    first = request([5] * 40, max_new_tokens=2)
    pool.submit(first)
    pool.run([first])
    cache = models[pool.engines.index(pool._engine_of[first])].cache
    (slot,) = (each for each in cache.slots if each.token_ids)
    tokens = TakenWhileRead(slot.token_ids, lambda: cache.truncate(slot, 0))
    slot.token_ids = tokens
    second = request([*[5] * 40, 7], max_new_tokens=2)
    pool.submit(second)
    assert tokens.num_asked
    assert not slot.token_ids
    pool.run([second])
    assert second.result is not None
    assert list(second.result.token_ids) == models[0].expected([*[5] * 40, 7], 2)
    pool.check()


def test_a_failure_on_one_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    models, pool = pool_of(2, context_length=10_000)
    requests = [request([3], max_new_tokens=9_000), request([4], max_new_tokens=9_000)]
    for each in requests:
        pool.submit(each)
    models[0].fail_next = True
    with pytest.raises(KeyboardInterrupt):
        pool.run(requests)
    assert isinstance(requests[0].error, GenerationError)
    assert requests[1].result is not None
    assert requests[1].result.finish_reason == "cancelled"
    pool.check()


async def test_each_engine_has_a_thread_of_its_own() -> None:
    models, pool = pool_of(2)
    driver = BackgroundDriver(pool)
    requests = [request([10 + i, 2], stream=True) for i in range(6)]

    async def read(each: Any) -> list[int]:
        return [t async for piece in driver.submit(each) for t in piece.token_ids]

    found = await asyncio.gather(*(read(each) for each in requests))
    driver.close()
    assert found == [models[0].expected([10 + i, 2], 8) for i in range(6)]
    assert all(model.runs for model in models)


@pytest.fixture
def any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every device be the CPU."""

    def decoder(folder: Any, *, device_id: int, **options: Any) -> Decoder:
        return Decoder(folder, **options)

    monkeypatch.setattr(genai.loaded_model, "Decoder", decoder)


@pytest.mark.usefixtures("any_device")
def test_a_generator_over_two_devices(model_folder: Callable[..., tuple[Path, Path]]) -> None:
    path, prompts = model_folder("llama")[1], [[5, 6, 7], [8], [9, 10], [3, 3, 3, 3]]
    with Generator(path, provider="cpu") as one, Generator(path, provider="cpu", devices=[0, 1]) as two:
        expected = one.generate(token_ids=prompts, max_new_tokens=8, temperature=0.8, seed=4)
        found = two.generate(token_ids=prompts, max_new_tokens=8, temperature=0.8, seed=4)
        assert [each.token_ids for each in found] == [each.token_ids for each in expected]
        assert two.logits(token_ids=[4, 5]).shape == (2, one.vocab_size)
        pieces = [t for piece in two.stream(token_ids=[5], max_new_tokens=4) for t in piece.token_ids]
        assert pieces == list(one.generate(token_ids=[5], max_new_tokens=4).token_ids)


@pytest.mark.parametrize("options", [{"devices": []}, {"devices": [1, 1]}, {"devices": [0], "device_id": 1}])
def test_impossible_devices_are_refused(
    model_folder: Callable[..., tuple[Path, Path]], options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match="devices"):
        Generator(model_folder("llama")[1], **options)


def test_the_workload_is_that_of_all_engines() -> None:
    models, pool = pool_of(2, max_batch=1, max_bytes=10_000)
    shape = models[0].cache.shape
    at_rest = pool.workload()
    assert (at_rest.num_running, at_rest.num_waiting, at_rest.cache_bytes) == (0, 0, 0)
    assert (at_rest.max_cache_tokens, at_rest.max_cache_bytes) == (2 * shape.capacity_for(1), 20_000)
    requests = [request([10 + i, 2, 3], max_new_tokens=4) for i in range(6)]
    for each in requests:
        pool.submit(each)
    for engine in pool.engines:
        engine.advance()
    busy = pool.workload()
    assert (busy.num_running, busy.num_waiting, busy.cache_tokens) == (2, 4, 2 * 2)
    assert busy.cache_bytes == sum(model.cache.nbytes for model in models) > 0
    pool.run(requests)
    again = [request([10 + i, 2, 3], max_new_tokens=4) for i in (4, 5)]
    for each in again:
        pool.submit(each)
    pool.run(again)
    done = pool.workload()
    assert (done.num_running, done.num_waiting, done.cache_tokens) == (0, 0, 0)
    assert done.idle_cache_tokens == 2 * 6
    assert (done.prompt_tokens, done.cached_prompt_tokens) == (8 * 3, 2 * 2)


def test_the_workload_counts_who_gave_way_and_knows_no_limit_of_bytes_where_there_is_none() -> None:
    shape = FakeModel(context_length=2000).cache.shape
    engine = Engine(FakeModel(context_length=2000, max_bytes=shape.num_bytes(2, 300)))
    requests = [request([i, 4], max_new_tokens=400) for i in range(2)]
    for each in requests:
        engine.submit(each)
    engine.run(requests)
    assert engine.workload().num_preemptions == sum(each.num_preemptions for each in requests) > 0
    assert Engine(FakeModel()).workload().max_cache_bytes is None
    assert Engine(FakeModel()).workload().max_cache_tokens == 4 * 64
    assert (engine.workload() + Engine(FakeModel()).workload()).max_cache_bytes is None
