"""Traces of requests (https://opentelemetry.io/docs/specs/semconv): who waited where, never a word of the texts.

A request is a span of its own, as HTTP's conventions have it; one that generates has a span of the conventions of generative AI
within, and in that, of each prompt, how long it queued, was read, and decoded. The only file that imports OpenTelemetry, itself
imported only where traces are wanted. What is sent where, and how much of it, the standard's variables OTEL_* say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, MutableMapping
from importlib.metadata import entry_points
from typing import Any, Self

from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers
from starlette.middleware import Middleware

from genai._version import __version__
from genai.engine import RequestTimes
from genai.errors import OptionError
from genai.server.guards import App, Receive, Scope, Send
from genai.server.http import CLIENT_CLOSED_REQUEST
from genai.server.observed import ObservedGeneration, noted_error, noted_generation
from genai.wire import status_of

__all__ = ["Traces"]

_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_PROTOCOLS: Mapping[str, str] = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
"""The exporters of OTEL_EXPORTER_OTLP_PROTOCOL, by the names that their packages declare."""
_REQUEST_ATTRIBUTES: Mapping[str, tuple[str, type[int] | type[float]]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", float),
    "max_new_tokens": ("max_tokens", int),
    "seed": ("seed", int),
    "frequency_penalty": ("frequency_penalty", float),
    "presence_penalty": ("presence_penalty", float),
    "num_return_sequences": ("choice.count", int),
}
"""By the option: what the conventions call it, behind "gen_ai.request.", and its type there."""
_LEFT = "client_disconnected"
"""The type of error where a client went before it had its answer."""


class Traces:
    """Sends the spans of an application's requests.

    Args:
        provider: Makes spans, and knows where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    @classmethod
    def from_environment(cls) -> Self:
        """Return traces that go where the environment says; OTLP over HTTP to this machine where it says nothing.

        Raises:
            OptionError: It names an exporter that is not installed.
        """
        own = {"service.name": "genai", "service.version": __version__}
        given = OTELResourceDetector().detect().attributes
        resource = Resource.create({name: value for name, value in own.items() if name not in given})
        exporters = list(_exporters())
        provider = TracerProvider(resource=resource)
        for exporter in exporters:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def layer(self) -> Middleware:
        """Return the layer that goes around all others."""
        return Middleware(_TracedRequests, tracer=self._provider.get_tracer("genai", __version__))

    def close(self) -> None:
        """Send what has not been sent; what ends later is not sent."""
        self._provider.shutdown()


class _TracedRequests:
    """Makes a span of each request, and of what it generates.

    Args:
        app: What answers.
        tracer: Makes spans.
    """

    def __init__(self, app: App, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traced = _TracedRequest(self._tracer, scope)

        async def send_noting(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                traced.status = message["status"]
            elif message["type"] == "http.response.body":
                traced.is_complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except BaseException as error:
            traced.raised = error
            raise
        finally:
            traced.end()


class _TracedRequest:
    """One request while it is answered.

    Args:
        tracer: Makes spans.
        scope: The request's; it is told the trace.
    """

    def __init__(self, tracer: Tracer, scope: Scope) -> None:
        self.status: int | None = None
        self.is_complete = False
        self.raised: BaseException | None = None
        self._tracer = tracer
        self._scope = scope
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()
        headers = Headers(scope=scope)
        self._span = tracer.start_span(
            _method(scope),
            context=extract({name: headers.getlist(name) for name in headers}),
            kind=SpanKind.SERVER,
            attributes=_http_attributes(scope, headers),
            start_time=self._ns(time.perf_counter()),
        )
        context = self._span.get_span_context()
        if context.is_valid:
            scope["state"]["trace_id"] = format_trace_id(context.trace_id)

    def end(self) -> None:
        """End its span, and make those of what it has generated."""
        now = time.perf_counter()
        span, scope = self._span, self._scope
        generation, failure = noted_generation(scope), self._failure()
        if generation is not None and span.is_recording():
            self._trace_generation(generation, failure, now)
        if (route := scope.get("route")) is not None:
            span.update_name(f"{_method(scope)} {route.path}")
            span.set_attribute("http.route", route.path)
        if self.status is not None:
            span.set_attribute("http.response.status_code", self.status)
        if (request_id := scope["state"].get("request_id")) is not None:
            span.set_attribute("http.response.header.x-request-id", [request_id])
        if failure is not None and not self._is_the_clients_error():
            _mark_failed(span, failure)
        span.end(self._ns(now))

    def _failure(self) -> str | None:
        """Return the type of the error that ended it."""
        error = self.raised or noted_error(self._scope)
        if self.status == CLIENT_CLOSED_REQUEST or (not self.is_complete and error is None):
            return _LEFT
        if error is not None:
            return type(error).__name__
        return str(self.status) if self.status is not None and self.status >= 500 else None

    def _is_the_clients_error(self) -> bool:
        """Whether it was answered as was right: then the conventions have a server's span not fail."""
        error = noted_error(self._scope)
        if self.raised is not None or error is None:
            return False
        status = status_of(error)
        return status < 500 and status != CLIENT_CLOSED_REQUEST

    def _trace_generation(self, generation: ObservedGeneration, failure: str | None, now: float) -> None:
        span = self._tracer.start_span(
            f"{generation.operation} {generation.model}",
            context=set_span_in_context(self._span),
            kind=SpanKind.INTERNAL,
            attributes=_generation_attributes(generation),
            start_time=self._ns(generation.begun),
        )
        if generation.answering is not None:
            streams = generation.answering.streams
            for index, stream in enumerate(streams):
                self._trace_stages(span, stream.times, now, index if len(streams) > 1 else None)
        if failure is not None:
            _mark_failed(span, failure)
        span.end(self._ns(now))

    def _trace_stages(self, parent: Span, times: RequestTimes, now: float, index: int | None) -> None:
        """Make a span of each stage that a prompt has come to; it ends with the next one, the prompt, or the request."""
        end = now if times.ended is None else min(times.ended, now)
        stages = [("queue", times.submitted), ("prompt", times.admitted), ("decode", times.first_token)]
        begun = [(name, begin) for name, begin in stages if begin is not None and begin <= end]
        ends = [begin for _, begin in begun[1:]] + [end]
        for (name, begin), until in zip(begun, ends, strict=True):
            span = self._tracer.start_span(
                name,
                context=set_span_in_context(parent),
                attributes={} if index is None else {"genai.prompt.index": index},
                start_time=self._ns(begin),
            )
            span.end(self._ns(until))

    def _ns(self, seconds: float) -> int:
        """Return a time of `time.perf_counter` in nanoseconds since 1970."""
        return self._epoch_ns + round(seconds * 1e9)


def _mark_failed(span: Span, failure: str) -> None:
    span.set_attribute("error.type", failure)
    span.set_status(Status(StatusCode.ERROR))  # without the message, which may quote a text


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "HTTP"


def _http_attributes(scope: Scope, headers: Headers) -> dict[str, AttributeValue]:
    """Return what is known of a request before it is answered."""
    method = scope["method"]
    found: dict[str, AttributeValue] = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    if (server := scope.get("server")) is not None:
        found |= {"server.address": server[0], "server.port": server[1] or 0}
    if (client := scope.get("client")) is not None:
        found["client.address"] = client[0]
    if "user-agent" in headers:
        found["user_agent.original"] = headers["user-agent"]
    return found


def _generation_attributes(generation: ObservedGeneration) -> dict[str, AttributeValue]:
    """Return what was asked for, and what came of it."""
    request, answering, results = generation.request, generation.answering, generation.results
    found: dict[str, AttributeValue] = {
        "gen_ai.operation.name": generation.operation,
        "gen_ai.provider.name": "genai",
        "gen_ai.request.model": request.model or generation.model,
        "gen_ai.response.model": generation.model,
        "gen_ai.request.stream": request.stream,
    }
    for option, (name, kind) in _REQUEST_ATTRIBUTES.items():
        value = request.options.get(option)
        # not every option was looked at before, and an attribute has 64 bits
        if isinstance(value, int | float) and abs(value) < 2**63:
            found[f"gen_ai.request.{name}"] = kind(value)
    if answering is not None:
        found["gen_ai.usage.input_tokens"] = answering.num_prompt_tokens
    if results:
        stats = [result.stats for result in results]
        found |= {
            "gen_ai.usage.output_tokens": sum(each.generated_tokens for each in stats),
            "gen_ai.usage.cache_read.input_tokens": sum(each.cached_prompt_tokens for each in stats),
            "gen_ai.response.finish_reasons": [
                choice.finish_reason for result in results for choice in (result.choices or (result,))
            ],
        }
        if request.stream:
            first = min(each.time_to_first_token_seconds for each in stats)
            found["gen_ai.response.time_to_first_chunk"] = first
    return found


def _exporters() -> Iterable[SpanExporter]:
    """Return what OTEL_TRACES_EXPORTER names, as the packages that are installed declare it.

    Raises:
        OptionError: One of them is not.
    """
    for name in os.environ.get("OTEL_TRACES_EXPORTER", "").split(","):
        yield from _exporter(name.strip() or "otlp")


def _exporter(name: str) -> Iterable[SpanExporter]:
    if name == "none":
        return
    declared = name
    if name == "otlp":
        given = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
        given = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "") or given
        protocol = given.strip() or "http/protobuf"
        if protocol not in _PROTOCOLS:
            raise OptionError(
                f'OTEL_EXPORTER_OTLP_PROTOCOL is "{protocol}", and can be {", ".join(_PROTOCOLS)}'
            )
        declared = _PROTOCOLS[protocol]
    found = list(entry_points(group="opentelemetry_traces_exporter", name=declared))
    if not found:
        known = sorted(entry_points(group="opentelemetry_traces_exporter").names)
        raise OptionError(
            f'no exporter of traces "{declared}" is installed; there are: {", ".join(["none", *known])}: set OTEL_TRACES_EXPORTER '
            "or OTEL_EXPORTER_OTLP_PROTOCOL, or install its package"
        )
    exporter: SpanExporter = found[0].load()()
    yield exporter
