"""The front without a cluster: what it refuses, what it tells a replica, and what clients get when one is lost."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, MutableMapping
from contextlib import closing
from typing import Any, cast

import pytest

from genai import Generator
from genai.answering import Answering
from genai.cluster.errors import ReplicaLostError
from genai.cluster.front import make_front
from genai.cluster.loading import ModelSource
from genai.cluster.replica import Replica
from genai.errors import GenerationError, OptionError
from genai.server import ServerSettings
from genai.wire import CompletionRequest
from tests.server.conftest import Running, running, until
from tests.server.raw import connect, post

CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
LONG = {**ASKED, "max_tokens": 1000, "ignore_eos": True}


class OneReplica:
    """Asks a replica of this process, which is lost after some messages, or fails."""

    def __init__(self) -> None:
        self.replica = Replica({"demo": "demo"}, ModelSource(), ServerSettings(host="0.0.0.0"))
        self.lost_after: int | None = None
        self.error: Exception = ReplicaLostError()
        self.told: list[tuple[Mapping[str, Any], str]] = []

    async def ask(
        self, scope: Mapping[str, Any], body: bytes, *, session: str
    ) -> AsyncGenerator[MutableMapping[str, Any]]:
        self.told.append((scope, session))
        answer = cast("AsyncGenerator[list[MutableMapping[str, Any]]]", self.replica.answer(scope, body))
        async with contextlib.aclosing(answer) as several:
            number = 0
            async for messages in several:
                for message in messages:
                    if number == self.lost_after:
                        raise self.error
                    yield message
                    number += 1

    async def metrics(self, *, timeout_seconds: float) -> Mapping[str, str]:
        return {"one": self.replica._app.state.server.metrics.text().decode()}


@pytest.fixture(scope="module")
def replicas() -> OneReplica:
    return OneReplica()


@pytest.fixture(scope="module")
def front(replicas: OneReplica) -> Iterator[Running]:
    settings = ServerSettings(
        api_keys=("alice: key", "bob: other-key"),
        max_requests=2,
        max_requests_per_key=1,
        max_body_bytes=10_000,
    )
    with running(make_front(cast(Any, replicas), settings)) as front:
        yield front


@pytest.fixture(autouse=True)
def fresh(replicas: OneReplica) -> None:
    replicas.lost_after, replicas.error = None, ReplicaLostError()
    replicas.told.clear()


KEY = {"authorization": "Bearer key"}
BOB = {"authorization": "Bearer other-key"}


def test_it_answers_as_the_replica_does(front: Running, replicas: OneReplica) -> None:
    with front.client as client:
        answer = client.post(CHAT, json=ASKED, headers=KEY)
        assert answer.json()["choices"][0]["message"]["content"]
        assert answer.headers["content-type"] == "application/json"
        assert client.get("/v1/models", headers=KEY).json()["data"][0]["id"] == "demo"
        refused = client.post(CHAT, json={**ASKED, "temprature": 1}, headers=KEY)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "temprature")
        assert client.get("/nothing", headers=KEY).status_code == 404
        assert client.get(CHAT, headers=KEY).status_code == 405
        assert CHAT in client.get("/openapi.json", headers=KEY).json()["paths"]
    assert replicas.told[0][1]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"{}", 401),
        ({"authorization": "Bearer other"}, b"{}", 401),
        ({**KEY, "origin": "https://example.org"}, b"{}", 403),
        ({**KEY, "host": "example.org"}, b"{}", 403),
        ({**KEY}, b" " * 20_000, 413),
    ],
)
def test_who_may_not_ask_reaches_no_replica(
    front: Running, replicas: OneReplica, headers: dict[str, str], content: bytes, status: int
) -> None:
    with front.client as client:
        assert client.post(CHAT, content=content, headers=headers).status_code == status
    assert replicas.told == []


def test_a_replica_is_told_no_secret_and_the_requests_id(
    front: Running, replicas: OneReplica, caplog: pytest.LogCaptureFixture
) -> None:
    told = {**KEY, "x-api-key": "key", "origin": front.url, "x-request-id": "mine"}
    with caplog.at_level(logging.INFO, logger="genai.server"), front.client as client:
        answer = client.post(CHAT, json=ASKED, headers=told)
    assert answer.headers["x-request-id"] == "mine"
    headers = [name for name, _ in replicas.told[0][0]["headers"]]
    assert not {b"authorization", b"x-api-key", b"origin"}.intersection(headers)
    assert dict(replicas.told[0][0]["headers"])[b"x-request-id"] == b"mine"
    entries = [json.loads(record.message) for record in caplog.records if record.message.startswith("{")]
    assert [entry["path"] for entry in entries if entry["request_id"] == "mine"][-1] == CHAT


def test_a_replica_is_told_whose_key_it_is_by_the_front_alone(
    front: Running, replicas: OneReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = []
    begin = Answering.begin

    async def noting(generator: Generator, request: CompletionRequest, *, client: str | None) -> Answering:
        clients.append(client)
        return await begin(generator, request, client=client)

    monkeypatch.setattr(Answering, "begin", noting)
    told = {"x-client": "bob", "x-genai-client": "bob", "client": "bob"}
    with front.client as client:
        for headers in (KEY, BOB):
            assert client.post(CHAT, json=ASKED, headers={**told, **headers}).status_code == 200
    assert [scope["state"] for scope, _ in replicas.told] == [{"client": "alice"}, {"client": "bob"}]
    assert clients == ["alice", "bob"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request_in_the_replica(
    front: Running, replicas: OneReplica, stream: bool
) -> None:
    behind, before = replicas.replica._app.state.server, cast(Any, front.app.state).server
    long = {**ASKED, "max_tokens": 1900, "ignore_eos": True, "stream": stream}
    with closing(connect(front)) as connection:
        connection.sendall(post(CHAT, long, x_api_key="key"))
        until(lambda: behind.num_requests == 1)
        assert before.num_requests_of == {"alice": 1}
    until(lambda: behind.num_requests == before.num_requests == 0)
    (generator,) = behind.models.loaded.values()
    until(lambda: generator.workload().num_running == 0)
    assert behind.num_requests_of == before.num_requests_of == {}


def test_too_many_are_told_to_come_back(front: Running, replicas: OneReplica) -> None:
    long = {**ASKED, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with front.client as client, contextlib.ExitStack() as open_streams:
        kept = []
        for headers in (KEY, BOB):
            answer = open_streams.enter_context(client.stream("POST", CHAT, json=long, headers=headers))
            kept.append(answer.iter_lines())
            next(kept[-1])
            refused = client.post(CHAT, json=ASKED, headers=headers)
            code = refused.json()["error"]["code"]
            assert (refused.status_code, code) == (
                429,
                "key_limit_exceeded" if headers is KEY else "rate_limit_exceeded",
            )
        assert client.post(CHAT, json=ASKED, headers=KEY).status_code == 429
        assert client.get("/v1/models", headers=KEY).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_replica_that_is_lost_before_its_answer_is_an_error(
    front: Running, replicas: OneReplica, stream: bool
) -> None:
    replicas.lost_after = 0
    with front.client as client:
        answer = client.post(CHAT, json={**ASKED, "stream": stream}, headers=KEY)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "replica_lost")
        assert answer.headers["retry-after"] == "1"
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "ending"),
    [
        (CHAT, ASKED, ['"code":"replica_lost"', "data: [DONE]"]),
        ("/v1/completions", {"prompt": "Hello", "max_tokens": 8}, ['"code":"replica_lost"', "data: [DONE]"]),
        ("/v1/messages", ASKED, ["event: error", "the replica"]),
        (
            "/v1/responses",
            {"input": "Hello", "max_output_tokens": 16},
            ["event: response.failed", "the replica"],
        ),
    ],
)
def test_a_stream_that_is_cut_ends_as_its_interface_has_it(
    front: Running, replicas: OneReplica, path: str, body: dict[str, Any], ending: list[str]
) -> None:
    replicas.lost_after = 4
    with front.client as client:
        answer = client.post(path, json={**body, "stream": True}, headers=KEY)
    assert answer.status_code == 200
    *said, first, last = [line for line in answer.text.splitlines() if line]
    assert said
    assert ending[0] in first, answer.text
    assert ending[1] in last, answer.text


def test_a_replica_that_fails_is_an_error_before_its_answer_and_within(
    front: Running, replicas: OneReplica
) -> None:
    replicas.error = GenerationError("a replica failed: no luck")
    with front.client as client:
        replicas.lost_after = 0
        assert client.post(CHAT, json=ASKED, headers=KEY).status_code == 500
        assert client.get("/health/ready").status_code == 503
        replicas.lost_after = 4
        answer = client.post(CHAT, json={**ASKED, "stream": True}, headers=KEY)
    assert answer.status_code == 200
    *_, first, last = [line for line in answer.text.splitlines() if line]
    assert "a replica failed: no luck" in first
    assert last == "data: [DONE]"


def test_a_stream_that_the_end_cuts_says_so(
    front: Running, replicas: OneReplica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state, ask = front.app.state.server, replicas.ask

    async def ask_until_cut(*asked: Any, **options: Any) -> AsyncGenerator[MutableMapping[str, Any]]:
        async with contextlib.aclosing(ask(*asked, **options)) as messages:
            number = 0
            async for message in messages:
                yield message
                if (number := number + 1) == 3:
                    state.cut()

    monkeypatch.setattr(replicas, "ask", ask_until_cut)
    try:
        with caplog.at_level(logging.INFO, "genai.server"), front.client as client:
            answer = client.post(CHAT, json={**LONG, "stream": True}, headers=KEY)
            until(lambda: caplog.text.count(CHAT) == 2)  # the replica's line, and the front's
    finally:
        state.is_draining = state.is_cut = False
    *said, event, end = filter(None, answer.text.splitlines())
    assert said
    assert ('"code":"server_ended"' in event, end) == (True, "data: [DONE]")
    entry = json.loads(caplog.records[-1].getMessage())
    assert (entry["status"], entry["ended"]) == (200, "server")


def test_counters_are_the_fronts_and_the_replicas(front: Running, replicas: OneReplica) -> None:
    with front.client as client:
        client.post(CHAT, json=ASKED, headers=KEY)
        page = client.get("/metrics", headers=KEY).text
        assert f'genai_requests_total{{path="{CHAT}",status="200"}}' in page
        assert 'genai_generated_tokens_total{model="demo",replica="one"}' in page
        assert page.count("# TYPE genai_requests_total ") == 1
        if sys.platform.startswith("linux"):
            assert 'process_resident_memory_bytes{replica="one"}' in page
            assert re.search(r"^process_resident_memory_bytes \d", page, re.MULTILINE)


def test_a_draining_front_is_not_ready(front: Running) -> None:
    state = cast(Any, front.app.state).server
    state.is_draining = True
    try:
        with front.client as client:
            assert client.get("/health/ready").json() == {"status": "draining"}
            assert client.post(CHAT, json=ASKED, headers=KEY).status_code == 503
    finally:
        state.is_draining = False
    with front.client as client:
        assert client.get("/health/ready").json() == {"status": "ok"}


def test_another_version_of_genai_is_refused() -> None:
    with pytest.raises(OptionError, match=r"this node has genai .*, the command 0\.0\.0"):
        Replica({"demo": "demo"}, ModelSource(version="0.0.0"), ServerSettings())
