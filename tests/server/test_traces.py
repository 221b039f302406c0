"""What a server tells of its requests as traces: which spans, within which, what they say, and what they never say."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from genai import Generator
from genai.cli.app import run_app
from genai.errors import GenerationError, OptionError
from genai.server import ServedModels, ServerSettings, make_app
from genai.server.traces import Traces
from genai.wire.openai.stream import CompletionChunks
from tests.server.conftest import Running, demo, running, until

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "a secret"}],
    "max_tokens": 3,
    "ignore_eos": True,
    "temperature": 0.5,
    "seed": 7,
    "stop": ["never said"],
}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced:
    """A server whose spans are kept, the server's own of a request last."""

    def __init__(self, server: Running, exporter: InMemorySpanExporter) -> None:
        self.url = server.url
        self.client = server.client
        self._exporter = exporter

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a request, as soon as that of this name has ended."""
        until(lambda: any(span.name == name for span in self._exporter.get_finished_spans()))
        return list(self._exporter.get_finished_spans())


Start = Callable[..., Traced]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(load: Callable[[], Generator] = demo, **settings: Any) -> Traced:
            exporter, provider = InMemorySpanExporter(), TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            traces = stack.enter_context(contextlib.closing(Traces(provider)))
            app = make_app(ServedModels({"demo": load}), ServerSettings(**settings), traces=traces)
            server = stack.enter_context(running(app))
            traced = Traced(server, exporter)
            stack.enter_context(traced.client)
            return traced

        yield start


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def own_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def bounds(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


@pytest.mark.parametrize("stream", [False, True])
def test_a_generation_has_a_span_with_its_stages_within_that_of_the_request(
    start: Start, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = start()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine", "user-agent": "me"}
    with caplog.at_level(logging.INFO, "genai.server"):
        server.client.post(CHAT, json={**BODY, "stream": stream}, headers=headers).raise_for_status()
        *stages, generation, request = server.spans(f"POST {CHAT}")

    assert (request.name, request.kind, parent_id(request)) == (
        f"POST {CHAT}",
        SpanKind.SERVER,
        int(PARENT, 16),
    )
    assert request.context is not None
    assert request.context.trace_id == int(TRACE, 16)
    said = attributes(request)
    assert said["http.request.method"] == "POST"
    assert said["http.route"] == said["url.path"] == CHAT
    assert (said["http.response.status_code"], said["user_agent.original"]) == (200, "me")
    assert said["http.response.header.x-request-id"] == ("mine",)
    assert request.status.status_code is StatusCode.UNSET
    assert json.loads(caplog.records[-1].message)["trace_id"] == TRACE

    assert (generation.name, generation.kind) == ("chat demo", SpanKind.INTERNAL)
    assert parent_id(generation) == own_id(request)
    said = attributes(generation)
    first = said.pop("gen_ai.response.time_to_first_chunk", None)
    assert (first is not None) == stream
    assert said.pop("gen_ai.usage.input_tokens") > said.pop("gen_ai.usage.cache_read.input_tokens") >= 0
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "genai",
        "gen_ai.request.model": "demo",
        "gen_ai.response.model": "demo",
        "gen_ai.request.stream": stream,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 3,
        "gen_ai.request.seed": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ("length",),
    }

    assert [span.name for span in stages] == ["queue", "prompt", "decode"]
    assert {parent_id(span) for span in stages} == {own_id(generation)}
    times = [time for span in stages for time in bounds(span)]
    assert times == sorted(times)
    (begin, end), (outer_begin, outer_end) = bounds(generation), bounds(request)
    assert outer_begin <= begin <= times[0] <= times[-1] <= end <= outer_end
    told = "".join(span.to_json() for span in (*stages, generation, request))
    assert "secret" not in told
    assert "never said" not in told


def test_each_prompt_has_its_stages(start: Start) -> None:
    server = start()
    body = {"prompt": ["one", "two"], "n": 2, "temperature": 1, "max_tokens": 2, "ignore_eos": True}
    server.client.post("/v1/completions", json=body).raise_for_status()
    *stages, generation, _ = server.spans("POST /v1/completions")
    found = [(attributes(span)["genai.prompt.index"], span.name) for span in stages]
    assert found == [(index, name) for index in (0, 1) for name in ("queue", "prompt", "decode")]
    said = attributes(generation)
    assert generation.name == "text_completion demo"
    assert said["gen_ai.request.choice.count"] == 2
    assert said["gen_ai.response.finish_reasons"] == ("length",) * 4
    assert said["gen_ai.usage.output_tokens"] == 8


def test_what_generates_nothing_has_a_span_alone(start: Start) -> None:
    server = start()
    server.client.get("/v1/models/demo").raise_for_status()
    (request,) = server.spans("GET /v1/models/{name:path}")
    assert (parent_id(request), attributes(request)["url.path"]) == (None, "/v1/models/demo")
    server.client.post("/api/generate", json={"model": "demo"}).raise_for_status()  # which loads it
    assert [span.name for span in server.spans("POST /api/generate")[1:]] == ["POST /api/generate"]
    server.client.request("PROPFIND", "/nothing")
    *_, request = server.spans("HTTP")
    assert attributes(request)["http.request.method"] == "_OTHER"


def test_a_refusal_is_no_failure_of_the_server(start: Start) -> None:
    server = start(api_keys=("key",))
    server.client.get("/v1/models")
    (request,) = server.spans("GET")
    assert attributes(request)["http.response.status_code"] == 401
    assert request.status.status_code is StatusCode.UNSET
    server.client.post(CHAT, content=b"no JSON", headers={"x-api-key": "key"})
    *_, request = server.spans(f"POST {CHAT}")
    assert attributes(request)["http.response.status_code"] == 400
    assert (request.status.status_code, "error.type" in attributes(request)) == (StatusCode.UNSET, False)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"messages": [{"role": "user", "content": "word " * 50}]}, "PromptTooLongError"),
        ({"seed": 2**80}, "OptionError"),  # has no place in 64 bits
        ({"top_k": "many"}, "OptionError"),
    ],
)
def test_a_generation_that_is_refused_has_the_type_of_the_error(
    start: Start, body: dict[str, Any], error: str
) -> None:
    server = start(lambda: demo(max_context=16))
    assert server.client.post(CHAT, json={**BODY, **body}).status_code == 400
    generation, request = server.spans(f"POST {CHAT}")
    assert attributes(generation)["error.type"] == error
    assert generation.status.status_code is StatusCode.ERROR
    assert request.status.status_code is StatusCode.UNSET
    refused = {f"gen_ai.request.{name}" for name in body}
    assert not refused & attributes(generation).keys()


@pytest.mark.parametrize("error", [GenerationError("a secret"), RuntimeError("a secret")])
def test_what_goes_wrong_in_a_stream_is_the_status_of_both(
    start: Start, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(CompletionChunks, "of_piece", fail)
    server = start()
    assert server.client.post(CHAT, json={**BODY, "stream": True}).status_code == 200
    *_, generation, request = server.spans(f"POST {CHAT}")
    for span in (generation, request):
        assert span.status.status_code is StatusCode.ERROR
        assert attributes(span)["error.type"] == type(error).__name__
        assert "secret" not in span.to_json()
    assert "gen_ai.response.finish_reasons" not in attributes(generation)


def test_a_failure_that_nobody_foresaw_is_one(start: Start) -> None:
    def load() -> Generator:
        raise RuntimeError("a secret")

    server = start(load)
    assert server.client.post(CHAT, json=BODY).status_code == 500
    generation, request = server.spans(f"POST {CHAT}")
    for span in (generation, request):
        assert (attributes(span)["error.type"], span.status.description) == ("RuntimeError", None)
        assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_is_told_as_such(start: Start, stream: bool) -> None:
    server = start()
    body = {**BODY, "max_tokens": 1900, "stream": stream}
    with contextlib.suppress(httpx.ReadTimeout):
        if stream:
            with server.client.stream("POST", CHAT, json=body) as answer:
                lines = answer.iter_lines()
                next(lines)
        else:
            server.client.post(CHAT, json=body, timeout=0.3)
    *stages, generation, request = server.spans(f"POST {CHAT}")
    for span in (generation, request):
        assert attributes(span)["error.type"] == "client_disconnected"
        assert span.status.status_code is StatusCode.ERROR
    assert attributes(request)["http.response.status_code"] == (200 if stream else 499)
    assert attributes(generation)["gen_ai.usage.input_tokens"] > 0
    assert {span.name for span in stages} <= {"queue", "prompt", "decode"}
    assert stages[-1].name == "decode" or not stream
    assert bounds(stages[-1])[1] <= bounds(request)[1]


class Collector(HTTPServer):
    """Takes traces by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Taking)


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        assert self.path == "/v1/traces"
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_environment_says_where_traces_go_and_the_end_sends_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        with contextlib.closing(Traces.from_environment()) as traces:
            app = make_app(ServedModels({"demo": demo}), ServerSettings(), traces=traces)
            with running(app) as server, server.client as client:
                client.post(CHAT, json=BODY).raise_for_status()
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    (sent,) = map(ExportTraceServiceRequest.FromString, collector.bodies)
    (resource,) = sent.resource_spans
    told = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (told["service.name"], told["deployment.environment.name"]) == ("genai", "test")
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert names == ["queue", "prompt", "decode", "chat demo", f"POST {CHAT}"]


def test_a_service_is_called_as_the_environment_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with contextlib.closing(Traces.from_environment()) as traces:
        assert traces._provider.resource.attributes["service.name"] == "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "carrier-pigeon"),
        ("OTEL_TRACES_EXPORTER", "none,carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
    ],
)
def test_an_exporter_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match="carrier-pigeon"):
        Traces.from_environment()


def test_the_command_traces_where_it_is_told_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_app(["serve", "--port", "0", "--traces", "--ray"]) == 2
    assert "--traces" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "genai.server.traces", None)
    assert run_app(["serve", "--port", "0", "--traces"]) == 2
    assert 'pip install -e ".[otel]"' in capsys.readouterr().err


def test_the_command_sends_what_it_traced() -> None:
    script = (
        "import genai.server as s, httpx\n"
        "from genai.cli import run\n"
        "from tests.server.conftest import running\n"
        "def ask(app, listening):\n"
        "    with running(app) as server: httpx.get(server.url + '/health/live').raise_for_status()\n"
        "s.run_server = ask\n"
        "run(['serve', '--port', '0', '--traces'])\n"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "console"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert '"name": "GET /health/live"' in done.stdout, done.stderr
