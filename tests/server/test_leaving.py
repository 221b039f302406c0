"""Clients that go away: in the queue, while their prompt is read, while they are answered. Nothing goes on without them."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from genai import Generator
from tests.server.conftest import Running, demo, until
from tests.server.raw import connect, post, reset

CHAT = "/v1/chat/completions"
STREAMS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
LEAVES = pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["close", "reset"])
Leave = Callable[[socket.socket], None]


class Steps:
    """The steps of an engine, which it makes when it is let.

    Args:
        generator: Whose engine it is.
        monkeypatch: Takes the gate away again.
    """

    def __init__(self, generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.generator = generator
        self.engine = generator._runner.loaded.engines.engines[0]
        self.num_made = 0
        self._let, self._is_free = threading.Semaphore(0), False
        self._advance = self.engine.advance
        monkeypatch.setattr(self.engine, "advance", self._when_let)

    def let(self, number: int) -> None:
        """Let it make some steps, and wait for them."""
        wanted = self.num_made + number
        self._let.release(number)
        until(lambda: self.num_made >= wanted)

    def let_all(self) -> None:
        """Let it make all the others."""
        self._is_free = True
        self._let.release()

    def _when_let(self) -> Any:
        if not self._is_free:
            self._let.acquire(timeout=60)
        advanced = self._advance()
        self.num_made += 1
        return advanced


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    with demo(max_batch=1) as generator:
        steps = Steps(generator, monkeypatch)
        yield steps
        steps.let_all()


@pytest.fixture
def server(steps: Steps, serve: Callable[..., Running]) -> Running:
    return serve({"demo": lambda: steps.generator})


def asked(*, stream: bool, num_words: int = 1, num_new: int = 1500) -> dict[str, Any]:
    messages = [{"role": "user", "content": "word " * num_words}]
    return {"messages": messages, "max_tokens": num_new, "ignore_eos": True, "stream": stream}


def begun(steps: Steps, server: Running, body: dict[str, Any]) -> socket.socket:
    """Return the connection of a request that has reached the engine, which knows it after its next step at the latest."""
    connection = connect(server)
    submitted = threading.Event()
    submit = steps.generator.asubmit

    def noting(request: Any) -> Any:
        stream = submit(request)
        submitted.set()
        return stream

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps.generator, "asubmit", noting)
        connection.sendall(post(CHAT, body))
        assert submitted.wait(30)
    return connection


def running(server: Running) -> dict[str, float]:
    """Return what the server says that runs and waits."""
    with server.client as client:
        page = client.get("/metrics").text
    return {
        name: float(value)
        for name, value in re.findall(r"^(genai\S+_(?:running|waiting))\S* (\S+)$", page, re.M)
    }


def until_nothing_runs(steps: Steps, server: Running) -> None:
    until(lambda: not steps.engine.has_work)
    until(lambda: set(running(server).values()) == {0})
    workload = steps.generator.workload()
    assert (workload.num_running, workload.num_waiting) == (0, 0)


@STREAMS
@LEAVES
def test_while_it_waits_in_the_queue(steps: Steps, server: Running, leave: Leave, *, stream: bool) -> None:
    state = server.app.state.server
    with closing(begun(steps, server, asked(stream=True))) as first:
        steps.let(2)
        waiting = begun(steps, server, asked(stream=stream))
        steps.let(1)
        assert steps.generator.workload().num_waiting == 1
        leave(waiting)
        until(lambda: state.num_requests == 1)
        steps.let(2)
        workload = steps.generator.workload()
        assert (workload.num_running, workload.num_waiting) == (1, 0)
        assert b"200 OK" in first.recv(1 << 16)
    until(lambda: state.num_requests == 0)
    steps.let_all()
    until_nothing_runs(steps, server)


@STREAMS
@LEAVES
def test_while_its_prompt_is_read(steps: Steps, server: Running, leave: Leave, *, stream: bool) -> None:
    state = server.app.state.server
    asking = begun(steps, server, asked(stream=stream, num_words=1500, num_new=1))
    steps.let(1)
    workload = steps.generator.workload()
    assert workload.num_running == 1
    assert 0 < workload.cache_tokens < 1500  # not all of it
    leave(asking)
    until(lambda: state.num_requests == 0)
    steps.let_all()
    until_nothing_runs(steps, server)
    assert steps.num_made <= 3  # one that had begun, and one in which it ends
    assert steps.generator.workload().idle_cache_tokens < 1500


@STREAMS
@LEAVES
def test_while_it_is_answered(steps: Steps, server: Running, leave: Leave, *, stream: bool) -> None:
    state = server.app.state.server
    asking = begun(steps, server, asked(stream=stream))
    steps.let(5)
    if stream:
        assert b"200 OK" in asking.recv(1 << 16)
    assert running(server)["genai_requests_running"] == 1
    leave(asking)
    until(lambda: state.num_requests == 0)
    steps.let_all()
    until_nothing_runs(steps, server)
    assert steps.num_made <= 7


@STREAMS
@LEAVES
def test_while_the_model_is_loaded(serve: Callable[..., Running], leave: Leave, *, stream: bool) -> None:
    loading, may_end = threading.Event(), threading.Event()

    def load() -> Generator:
        loading.set()
        assert may_end.wait(60)
        return demo()

    server = serve({"demo": load})
    try:
        asking = connect(server)
        asking.sendall(post(CHAT, asked(stream=stream)))
        assert loading.wait(30)
        assert running(server)["genai_requests_running"] == 1
        leave(asking)
        until(lambda: running(server)["genai_requests_running"] == 0)
    finally:
        may_end.set()
    with server.client as client:
        assert client.post(CHAT, json=asked(stream=False, num_new=1)).status_code == 200


@LEAVES
@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed"], ids=["openai", "ollama"])
def test_while_texts_become_vectors(
    serve: Callable[..., Running], leave: Leave, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_read, reading, may_end = 0, threading.Event(), threading.Event()
    with demo() as generator:
        embed = generator.embed

        def slow(**options: Any) -> Any:
            nonlocal num_read
            num_read += 1
            reading.set()
            assert may_end.wait(60)
            return embed(**options)

        monkeypatch.setattr(generator, "embed", slow)
        server = serve({"demo": lambda: generator})
        asking = connect(server)
        asking.sendall(post(path, {"model": "demo", "input": ["one", "two", "three"]}))
        assert reading.wait(30)
        leave(asking)
        until(lambda: server.app.state.server.num_requests == 0)
        may_end.set()
        with server.client as client:
            assert client.post(path, json={"model": "demo", "input": "four"}).status_code == 200
        assert num_read == 2
