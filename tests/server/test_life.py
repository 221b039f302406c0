"""Beginnings and ends: models that come and go, clients that leave, a server that drains."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from genai import Generator
from genai.errors import GenerationError, OptionError
from genai.server import ServedModels, ServerSettings, listen, make_app
from genai.server.state import ServerState
from genai.wire.openai.stream import CompletionChunks
from tests.server.conftest import Running, demo, running, until

Serve = Callable[..., Running]
CHAT = "/v1/chat/completions"
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Go on."}],
    "max_tokens": 1900,
    "ignore_eos": True,
    "stream": True,
}


LONGEST = {**LONG, "n": 8, "temperature": 1}


def state_of(server: Running) -> ServerState:
    state: ServerState = server.app.state.server
    return state


def test_a_model_is_loaded_by_the_first_request_once(serve: Serve) -> None:
    loads: list[str] = []

    def load() -> Generator:
        loads.append("once")
        return demo()

    server = serve({"demo": demo, "slow": load})
    with server.client as client:
        assert client.get("/health/ready").json()["loaded"] == []

        def ask() -> None:
            assert (
                client.post(
                    CHAT, json={**LONG, "model": "slow", "max_tokens": 2, "stream": False}
                ).status_code
                == 200
            )

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.get("/health/ready").json()["loaded"] == ["slow"]
    assert loads == ["once"]


def test_a_model_that_cannot_be_loaded_says_why_and_is_tried_again(serve: Serve) -> None:
    loads: list[bool] = []

    def load() -> Generator:
        loads.append(True)
        if len(loads) == 1:
            raise GenerationError("no luck")
        return demo()

    with serve({"demo": load}).client as client:
        failed = client.post(CHAT, json={**LONG, "stream": False, "max_tokens": 1})
        assert (failed.status_code, failed.json()["error"]["message"]) == (500, "no luck")
        assert client.post(CHAT, json={**LONG, "stream": False, "max_tokens": 1}).status_code == 200


def test_idle_models_go_and_those_that_answer_stay(serve: Serve) -> None:
    server = serve(keep_alive=0.05)
    with server.client as client:
        with client.stream("POST", CHAT, json=LONG) as answer:
            lines = answer.iter_lines()
            next(lines)
            time.sleep(0.3)  # several times as long as an idle model is kept
            assert "demo" in state_of(server).models.loaded
        until(lambda: not state_of(server).models.loaded)
        assert client.post(CHAT, json={**LONG, "stream": False, "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request(serve: Serve, stream: bool) -> None:
    generator = demo()
    server = serve({"demo": lambda: generator})
    engine = generator._runner.loaded.engines.engines[0]
    with server.client as client, contextlib.suppress(httpx.ReadTimeout):
        if stream:
            with client.stream("POST", CHAT, json=LONG) as answer:
                lines = answer.iter_lines()
                next(lines)
                assert engine.has_work
        else:
            client.post(CHAT, json={**LONG, "stream": False}, timeout=0.3)
    until(lambda: not engine.has_work and state_of(server).num_requests == 0, seconds=2)


def test_a_client_that_leaves_before_its_body_has_come_is_no_failure(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    host, port = server.url.removeprefix("http://").split(":")

    def logged() -> list[str]:
        return [record.getMessage() for record in caplog.records if "/v1/" in record.getMessage()]

    with caplog.at_level(logging.INFO):
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 100\r\n\r\n"
            connection.sendall(head.encode() + b'{"messages"')
        until(lambda: bool(logged()))
    entry = json.loads(logged()[0])
    assert (entry["status"], entry["ended"]) == (499, "client")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_the_log_says_that_a_client_left_its_stream(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with serve().client as client, caplog.at_level(logging.INFO, "genai.server"):
        with client.stream("POST", CHAT, json={**LONG, "max_tokens": 1}) as answer:
            answer.read()
        with client.stream("POST", CHAT, json=LONGEST) as answer:
            lines = answer.iter_lines()
            next(lines)
        until(lambda: len(caplog.records) == 2)
    logged = [json.loads(each.getMessage()) for each in caplog.records]
    assert [(each["status"], each.get("ended")) for each in logged] == [(200, None), (200, "client")]


def test_too_many_requests_are_told_to_come_back(serve: Serve) -> None:
    with serve(max_requests=1).client as client:
        with client.stream("POST", CHAT, json=LONG) as answer:
            lines = answer.iter_lines()  # which would close it if it went
            next(lines)
            refused = client.post(CHAT, json={**LONG, "stream": False})
            for path, body in (
                ("/tokenize", {"prompt": "a"}),
                ("/detokenize", {"tokens": [5]}),
                ("/v1/messages/count_tokens", {"model": "demo", "messages": LONG["messages"]}),
            ):
                assert client.post(path, json=body).status_code == 429
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (GenerationError("no luck"), "no luck"),
        (RuntimeError("a secret"), "the server failed; its log says more"),
    ],
)
def test_an_error_in_a_stream_is_its_last_event_and_logged(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    told: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(CompletionChunks, "of_piece", fail)
    with serve().client as client, client.stream("POST", CHAT, json=LONG) as answer:
        event, end = filter(None, answer.iter_lines())
    assert json.loads(event.removeprefix("data: "))["error"]["message"] == told
    assert end == "data: [DONE]"
    (failed,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failed.getMessage() == f"request {answer.headers['x-request-id']} failed"
    assert failed.exc_info is not None
    assert failed.exc_info[1] is error


def test_a_failure_that_nobody_foresaw_is_logged_and_counted_as_one(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> Generator:
        raise RuntimeError("a secret")

    with serve({"demo": load}).client as client, caplog.at_level(logging.INFO, "genai.server"):
        failed = client.post(CHAT, json=LONG)
        counted = client.get("/metrics").text
    assert (failed.status_code, failed.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in failed.text
    assert f'genai_requests_total{{path="{CHAT}",status="500"}} 1.0' in counted
    failure, entry = [record for record in caplog.records if "/metrics" not in record.getMessage()][:2]
    assert failure.exc_info is not None
    logged = json.loads(entry.getMessage())
    assert (logged["request_id"], logged["status"]) == (failed.headers["x-request-id"], 500)


def test_adapters_are_names_of_models() -> None:
    models = ServedModels({"demo": demo}, adapters={"sql": "demo"})
    with running(make_app(models, ServerSettings())) as server, server.client as client:
        assert [each["id"] for each in client.get("/v1/models").json()["data"]] == ["demo", "sql"]
        refused = client.post(CHAT, json={**LONG, "model": "sql"})
        assert refused.json()["error"]["message"].startswith(
            'the model has no adapter "sql"'
        )  # demo has none
        assert client.post(CHAT, json={**LONG, "stream": False, "max_tokens": 1}).status_code == 200


def test_a_taken_port_is_told() -> None:
    with (
        listen("127.0.0.1", 0) as taken,
        pytest.raises(OptionError, match=r"cannot listen on 127\.0\.0\.1, port"),
    ):
        listen("127.0.0.1", taken.getsockname()[1])


@pytest.fixture
def command() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`genai serve` as a process, and its address."""
    arguments = [sys.executable, "-m", "genai", "serve", "--port", "0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+(?=/v1)", line):
                break
        else:
            raise AssertionError("it has not begun")
        try:
            yield process, found[0]
        finally:
            process.kill()


def test_a_signal_drains_the_server(command: tuple[subprocess.Popen[str], str]) -> None:
    process, url = command
    with httpx.stream("POST", f"{url}{CHAT}", json={**LONG, "max_tokens": 400}, timeout=60) as answer:
        lines = filter(None, answer.iter_lines())
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert list(lines)[-1] == "data: [DONE]"
    assert process.wait(30) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health/ready")


def test_others_are_refused_until_what_runs_has_ended(command: tuple[subprocess.Popen[str], str]) -> None:
    process, url = command
    with httpx.stream("POST", f"{url}{CHAT}", json=LONGEST, timeout=60) as answer:
        lines = answer.iter_lines()  # which would close it if it went
        next(lines)
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/health/ready").status_code == 503)
        ready, refused = httpx.get(f"{url}/health/ready"), httpx.post(f"{url}{CHAT}", json=LONG)
    assert (ready.json(), ready.headers["retry-after"]) == ({"status": "draining"}, "10")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    assert refused.json()["error"]["code"] == "draining"
    assert process.wait(30) == 0


def test_a_second_signal_cuts_what_runs_and_says_so(command: tuple[subprocess.Popen[str], str]) -> None:
    process, url = command
    whole: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: whole.append(httpx.post(f"{url}{CHAT}", json={**LONGEST, "stream": False}, timeout=60))
    )
    with httpx.stream("POST", f"{url}{CHAT}", json=LONGEST, timeout=60) as answer:
        lines = filter(None, answer.iter_lines())
        next(lines)
        asking.start()
        until(lambda: "genai_requests_running 2.0" in httpx.get(f"{url}/metrics").text)
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/health/ready").status_code == 503)
        process.send_signal(signal.SIGTERM)
        *_, event, end = lines
    asking.join()
    assert json.loads(event.removeprefix("data: "))["error"]["code"] == "server_ended"
    assert end == "data: [DONE]"
    assert (whole[0].status_code, whole[0].json()["error"]["code"]) == (503, "server_ended")
    assert process.wait(30) == 1
    assert process.stderr is not None
    said = process.stderr.read()
    assert "Exception" not in said
    log = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [line.get("ended") for line in log if line.get("path") == CHAT and line["status"] == 200] == [
        "server"
    ]
