"""Requests as no good client sends them, written by hand: bodies that stop, lengths that are wrong, old and rare methods."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from tests.server.conftest import Running, until
from tests.server.raw import connect, head, post, read_all

Serve = Callable[..., Running]
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 3,
    "ignore_eos": True,
}
CONTENT = json.dumps(BODY).encode()


def answers(received: bytes) -> list[int]:
    """Return the statuses of what came."""
    return [int(line.split()[1]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def body_of(received: bytes) -> Any:
    return json.loads(received.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "sent",
    [
        head(f"POST {CHAT} HTTP/1.1", content_length=len(CONTENT)),
        head(f"POST {CHAT} HTTP/1.1", content_length=len(CONTENT)) + CONTENT[:9],
        head(f"POST {CHAT} HTTP/1.1", content_length=len(CONTENT) + 1) + CONTENT,
        head(f"POST {CHAT} HTTP/1.1", transfer_encoding="chunked") + b"9\r\n" + CONTENT[:9] + b"\r\n",
        head("POST /tokenize HTTP/1.1", content_length=9) + b"{",
    ],
    ids=["none", "half", "one byte less than said", "half in chunks", "another path"],
)
def test_a_body_that_stops_coming_is_waited_for_so_long(serve: Serve, sent: bytes) -> None:
    server = serve(body_timeout_seconds=0.2)
    with closing(connect(server)) as connection:
        connection.sendall(sent)
        received = read_all(connection)  # the server closes it
    assert answers(received) == [408]
    assert body_of(received)["error"]["code"] == "body_timeout"
    assert server.app.state.server.num_requests == 0


def test_a_slow_body_is_waited_for_and_so_is_the_answer(serve: Serve) -> None:
    server = serve(body_timeout_seconds=0.5)
    content = json.dumps({**BODY, "max_tokens": 900}).encode()  # which takes longer than that
    with closing(connect(server)) as connection:
        connection.sendall(head(f"POST {CHAT} HTTP/1.1", content_length=len(content), connection="close"))
        for place in range(0, len(content), 20):
            connection.sendall(content[place : place + 20])
        received = read_all(connection)
    assert answers(received) == [200]
    assert body_of(received)["usage"]["completion_tokens"] == 900


def test_a_body_that_is_longer_than_said_is_cut_there(server: Running) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(head(f"POST {CHAT} HTTP/1.1", content_length=len(CONTENT) - 1) + CONTENT)
        received = read_all(connection)
    assert set(answers(received)) == {
        400
    }  # which of the two requests is told depends on how the bytes arrive


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "3, 4"])
def test_a_length_that_is_none_is_refused(server: Running, length: str) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(head(f"POST {CHAT} HTTP/1.1", content_length=length))
        connection.settimeout(30)
        assert answers(connection.recv(1 << 16))[0] in (400, 413)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP, identity", "br"])
def test_compressed_bodies_are_refused_by_name(server: Running, encoding: str) -> None:
    with server.client as client:
        headers = {"content-encoding": encoding}
        refused = client.post(CHAT, content=gzip.compress(CONTENT), headers=headers)
        assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "identity")
        assert encoding in refused.json()["error"]["message"]
        plain = client.post(CHAT, content=CONTENT, headers={"content-encoding": "identity"})
        assert plain.status_code == 200


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b'{"model": "demo", ' + CONTENT[1:-1] + b', "model": "other"}', "model"),
        (b'{"messages": [{"role": "user", "content": "a", "role": "system"}]}', "role"),
        (rb'{"prompt": "a", "\u0070rompt": "b"}', "prompt"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/api/chat", "/tokenize"])
def test_names_that_stand_twice_are_refused(server: Running, path: str, content: bytes, name: str) -> None:
    with server.client as client:
        refused = client.post(path, content=content)
    assert refused.status_code == 400
    assert f'\\"{name}\\" stands twice' in refused.text


def test_head_is_get_without_its_body(server: Running) -> None:
    with server.client as client:
        for path in ("/v1/models", "/health/live", "/health/ready", "/openapi.json", "/api/tags", "/"):
            whole, first = client.get(path), client.head(path)
            assert (first.status_code, first.content) == (200, b"")
            assert first.headers["content-length"] == str(len(whole.content))
            assert first.headers["content-type"] == whole.headers["content-type"]
        assert client.head(CHAT).status_code == 405
        assert client.head("/nothing").status_code == 404
        assert 'genai_requests_total{path="/v1/models",status="200"} 2.0' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/v1/models", CHAT])
def test_options_and_others_are_told_what_there_is(server: Running, path: str) -> None:
    with server.client as client:
        for method in ("OPTIONS", "PUT", "DELETE", "PATCH"):
            refused = client.request(method, path)
            assert refused.status_code == 405
            assert refused.headers["allow"] == ("POST" if path == CHAT else "GET")


@pytest.mark.parametrize("stream", [True, False])
def test_http_1_0_is_answered_and_closed(server: Running, stream: bool) -> None:
    content = json.dumps({**BODY, "stream": stream}).encode()
    with closing(connect(server)) as connection:
        connection.sendall(head(f"POST {CHAT} HTTP/1.0", content_length=len(content)) + content)
        received = read_all(connection)
    assert answers(received) == [200]
    assert b"[DONE]" in received if stream else b'"completion_tokens":3' in received


def test_idle_connections_hinder_nobody(server: Running) -> None:
    with ExitStack() as kept:
        for number in range(300):
            connection = kept.enter_context(closing(connect(server)))
            if number % 3:
                connection.sendall(post(CHAT, BODY)[: 10 * number])  # the beginnings of requests
        with server.client as client:
            assert client.post(CHAT, json=BODY).status_code == 200
            assert client.get("/health/ready").status_code == 200
            running = httpx.get(f"{server.url}/metrics").text
            assert "genai_requests_running 0.0" in running
    until(lambda: server.app.state.server.num_requests == 0)
