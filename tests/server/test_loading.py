"""Models in limited memory: who goes for another, who waits, and what a failure for lack of memory does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genai.engine import Workload
from genai.errors import GenerationError, ModelFolderError, OutOfMemoryError
from genai.generator import Generator
from genai.server import LoadLimits, ServedModels
from genai.server.model_metrics import ModelMetrics
from genai.wire import ApiError
from tests.server.conftest import Running


class Loads:
    """Stands for models: what was loaded and let go, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.ends_badly = ""

    def loader(self, name: str, *errors: Exception) -> Callable[[], Generator]:
        left = list(errors)

        def load() -> Any:
            if left:
                raise left.pop(0)
            self.events.append(f"+{name}")
            return self.model(name)

        return load

    def model(self, name: str) -> Any:
        loads = self

        class Model:
            folder = None

            def warm_up(self) -> None:
                pass

            def close(self) -> None:
                loads.events.append(f"-{name}")
                if name in loads.ends_badly:
                    raise GenerationError("no luck")

            def workload(self) -> Workload:
                return Workload(0, 0, 2, 0, 0, 0, 0, 0, 0, None)

        return Model()


@contextlib.asynccontextmanager
async def serving(loads: Loads, names: str, **options: Any) -> AsyncIterator[ServedModels]:
    models = ServedModels({name: loads.loader(name) for name in names}, **options)
    try:
        yield models
    finally:
        await models.close()


async def use(models: ServedModels, *names: str) -> None:
    for name in names:
        async with models.use(models.find(name)):
            pass


async def test_the_one_that_was_used_longest_ago_goes_for_another() -> None:
    loads = Loads()
    async with serving(loads, "abc", limits=LoadLimits(max_loaded=2)) as models:
        await use(models, "a", "b", "a", "c")
        assert loads.events == ["+a", "+b", "-b", "+c"]
        assert sorted(models.loaded) == ["a", "c"]


async def test_bytes_are_a_limit() -> None:
    loads = Loads()
    sizes = {"a": 30, "b": 30, "c": 60, "d": 500}
    async with serving(loads, "abcd", sizes=sizes, limits=LoadLimits(max_bytes=100)) as models:
        await use(models, "a", "b", "c")
        assert loads.events == ["+a", "+b", "-a", "+c"]
        await use(models, "d")  # alone it is tried, whatever it may take
        assert sorted(models.loaded) == ["d"]


async def test_a_model_that_answers_stays_and_another_waits_for_it() -> None:
    loads = Loads()
    async with serving(loads, "ab", limits=LoadLimits(max_loaded=1)) as models:
        async with models.use(models.find("a")):
            waiting = asyncio.create_task(use(models, "b"))
            await asyncio.sleep(0.05)
            assert loads.events == ["+a"]
            await use(models, "a")  # others of it go on meanwhile
        await waiting
        assert loads.events == ["+a", "-a", "+b"]


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    limits = LoadLimits(max_loaded=1, max_wait_seconds=0.05)
    async with serving(Loads(), "ab", limits=limits) as models, models.use(models.find("a")):
        with pytest.raises(ApiError, match="come back later") as caught:
            await use(models, "b")
        assert (caught.value.status, caught.value.code) == (503, "model_not_loaded")
        assert caught.value.headers is not None
        assert int(caught.value.headers["Retry-After"]) > 0


async def test_nothing_is_loaded_for_who_went_away_while_it_waited(caplog: pytest.LogCaptureFixture) -> None:
    loads = Loads()
    async with serving(loads, "ab", limits=LoadLimits(max_loaded=1)) as models:
        async with models.use(models.find("a")):
            waiting = asyncio.create_task(use(models, "b"))
            await asyncio.sleep(0.01)
            loading = models.models["b"].loading
            assert loading is not None
            waiting.cancel()
            await asyncio.wait([waiting, loading])
            del loading
        assert loads.events == ["+a"]
    assert caplog.records == []  # nor is it a failure


async def test_a_load_that_began_is_not_lost_when_who_asked_goes_away() -> None:
    loads, may_load = Loads(), threading.Event()

    def load() -> Any:
        may_load.wait(30)
        return loads.loader("a")()

    models = ServedModels({"a": load, "b": loads.loader("b")})
    asking = asyncio.create_task(use(models, "a"))
    await asyncio.sleep(0.01)
    await use(models, "b")  # others are answered while it is loaded
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    may_load.set()
    await use(models, "a")
    assert loads.events == ["+b", "+a"]
    await models.close()


@pytest.mark.parametrize(
    "error", [OutOfMemoryError("none left"), MemoryError(), ModelFolderError("a: std::bad_alloc")]
)
async def test_where_memory_is_lacking_idle_models_go_and_it_is_tried_once_more(error: Exception) -> None:
    loads = Loads()
    models = ServedModels(
        {"a": loads.loader("a"), "b": loads.loader("b"), "c": loads.loader("c", error, error, error)}
    )
    await use(models, "a")
    async with models.use(models.find("b")):
        with pytest.raises(type(error)):
            await use(models, "c")
        assert loads.events == ["+a", "+b", "-a"]
        with pytest.raises(type(error)):  # nothing else can go: it is not tried twice
            await use(models, "c")
        await use(models, "c")
    assert loads.events == ["+a", "+b", "-a", "+c"]
    await models.close()


def test_models_are_watched(serve: Callable[..., Running]) -> None:
    server = serve({"demo": lambda: Generator("demo"), "other": lambda: Generator("demo")})

    def scraped(client: httpx.Client) -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return {(each.name, each.labels["model"]): each.value for each in samples if "model" in each.labels}

    with server.client as client:
        assert scraped(client)["genai_model_loaded", "demo"] == 0
        body = {"prompt": "Hello", "max_tokens": 5, "ignore_eos": True}
        usage = client.post("/v1/completions", json=body).json()["usage"]
        assert client.post("/v1/completions", json={**body, "model": "unknown"}).status_code == 404
        found = scraped(client)
    assert {model for _, model in found} == {"demo", "other"}
    assert (found["genai_model_loaded", "demo"], found["genai_model_loaded", "other"]) == (1, 0)
    assert (found["genai_model_loads_total", "demo"], found["genai_model_loads_total", "other"]) == (1, 0)
    assert found["genai_model_load_seconds_total", "demo"] > 0
    assert found["genai_generated_tokens_total", "demo"] == 5
    assert found["genai_model_requests_running", "demo"] == found["genai_model_requests_waiting", "demo"] == 0
    assert found["genai_preemptions_total", "demo"] == found["genai_kv_cache_tokens", "demo"] == 0
    assert usage["prompt_tokens"] <= found["genai_kv_cache_idle_tokens", "demo"] + 1
    assert found["genai_kv_cache_max_tokens", "demo"] > 0
    assert ("genai_kv_cache_bytes", "other") not in found


async def test_preemptions_are_counted_on_when_a_model_is_loaded_again() -> None:
    def counted() -> dict[str, float]:
        families = {family.name: family for family in ModelMetrics(models.models).collect()}
        return {each.labels["model"]: each.value for each in families["genai_preemptions"].samples}

    async with serving(Loads(), "ab", limits=LoadLimits(max_loaded=1)) as models:
        assert counted() == {"a": 0, "b": 0}
        for name, expected in (("a", (2, 0)), ("b", (2, 2)), ("a", (4, 2)), ("b", (4, 4))):
            await use(models, name)
            assert tuple(counted().values()) == expected


async def test_preemptions_never_go_down_while_a_model_is_let_go() -> None:
    loads, closing, may_close = Loads(), threading.Event(), threading.Event()

    def load() -> Any:
        model = loads.model("a")

        def close() -> None:
            closing.set()
            may_close.wait(30)

        model.close = close
        return model

    models = ServedModels({"a": load})
    await use(models, "a")
    going = asyncio.create_task(models.unload(models.find("a")))
    await asyncio.to_thread(closing.wait, 30)
    families = {family.name: family for family in ModelMetrics(models.models).collect()}
    may_close.set()
    await going
    assert [each.value for each in families["genai_preemptions"].samples] == [2]


async def test_a_model_that_fails_while_it_is_let_go_is_gone_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loads = Loads()
    loads.ends_badly = "ab"
    async with serving(loads, "abc", limits=LoadLimits(max_loaded=1)) as models:
        looking = asyncio.create_task(models.let_idle_go())
        await use(models, "a", "b")
        assert loads.events == ["+a", "-a", "+b"]
        async with models.use(models.find("b"), keep_alive=0):
            pass
        async with asyncio.timeout(30):
            while models.loaded and not looking.done():
                await asyncio.sleep(0.01)
        assert not looking.done()  # other models go, too
        looking.cancel()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


@pytest.mark.parametrize("num_turns", range(5))
async def test_looking_for_idle_models_ends_also_where_a_request_ends_meanwhile(num_turns: int) -> None:
    async with serving(Loads(), "a") as models:
        looking = asyncio.create_task(models.let_idle_go())
        await asyncio.sleep(0.01)
        models._used.set()
        for _ in range(num_turns):
            await asyncio.sleep(0)
        looking.cancel()
        done, _ = await asyncio.wait([looking], timeout=10)
        assert done
        assert looking.cancelled()


async def test_loads_are_counted() -> None:
    async with serving(Loads(), "ab", limits=LoadLimits(max_loaded=1)) as models:
        await use(models, "a", "b", "a")
        assert {name: each.num_loads for name, each in models.models.items()} == {"a": 2, "b": 1}
