"""Asking through a handle: again where a replica is lost, never twice where its answer has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from genai.cluster.errors import ReplicaLostError
from genai.errors import GenerationError

pytestmark = pytest.mark.ray

START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"one", "more_body": True}
BODY = {"type": "http.response.body", "body": b"one", "more_body": False}


class Handle:
    """Answers by scripts, one for each time that it is asked: lists of messages, or what is raised."""

    def __init__(self, *scripts: list[Any]) -> None:
        self._scripts = list(scripts)
        self.num_cancelled = 0

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, *_: Any) -> Handle:
        self._script = self._scripts.pop(0)
        return self

    async def __aiter__(self) -> AsyncIterator[Any]:
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            yield step

    def cancel(self) -> None:
        self.num_cancelled += 1


async def told(handle: Handle) -> list[Any]:
    from genai.cluster.replicas import Replicas

    replicas: Any = Replicas(handle)  # type: ignore[arg-type]
    return [message async for message in replicas.ask({}, b"", session="")]


@pytest.fixture
def lost() -> Exception:
    from ray.exceptions import ActorDiedError

    return ActorDiedError()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai.cluster.replicas._FIRST_PAUSE_SECONDS", 0)


async def test_a_request_is_sent_again_until_an_answer_has_begun(lost: Exception) -> None:
    assert await told(Handle([lost], [[START], lost], [[START], [BODY]])) == [START, BODY]


async def test_an_answer_that_has_begun_is_not_begun_again(lost: Exception) -> None:
    handle = Handle([[START, PART], lost], [[START, BODY]])
    with pytest.raises(ReplicaLostError):
        await told(handle)
    assert len(handle._scripts) == 1


async def test_a_replica_that_is_lost_behind_its_answer_is_no_loss(lost: Exception) -> None:
    handle = Handle([[START, PART], [BODY], lost], [[START, BODY]])
    assert await told(handle) == [START, PART, BODY]
    assert len(handle._scripts) == 1


async def test_all_tries_may_be_lost(lost: Exception) -> None:
    with pytest.raises(ReplicaLostError):
        await told(Handle(*[[lost]] * 8))


async def test_what_a_replica_raises_is_no_loss() -> None:
    from ray.exceptions import RayTaskError

    failed = RayTaskError("answer", "Traceback ...", ValueError("no luck"))
    with pytest.raises(GenerationError, match="no luck"):
        await told(Handle([failed]))


async def test_who_stops_reading_ends_the_request() -> None:
    from genai.cluster.replicas import Replicas

    handle = Handle([[START, BODY], [BODY]])
    replicas: Any = Replicas(handle)  # type: ignore[arg-type]
    answer = replicas.ask({}, b"", session="")
    assert await anext(answer) == START
    await answer.aclose()
    await asyncio.sleep(0)
    assert handle.num_cancelled == 1
