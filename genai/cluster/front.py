"""The front: everything that stands before a server's routes, and behind it replicas instead of routes.

Who may ask, how much, the log and the count of requests are here, once, by the same layers as in a server of one process; every
other path goes to a replica, where the same application answers it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from genai.cluster.metrics import merged_metrics
from genai.cluster.sessions import SESSION_HEADER, session_of
from genai.errors import GenaiError
from genai.server import ServerSettings
from genai.server.app import guarded_app
from genai.server.ascii_json import AsciiJson
from genai.server.http import read_bytes, while_connected
from genai.server.keys import client_of
from genai.server.observed import note_error
from genai.server.state import Admission, ended_error
from genai.wire import INTERFACES, AnswerFacts, ApiError, Exchange, read_body

if TYPE_CHECKING:
    from genai.cluster.replicas import Replicas

__all__ = ["make_front"]

_METRICS_SECONDS, _READY_SECONDS = 3.0, 5.0
"""How long replicas are waited for, which may be busy or lost, by who only wants to know."""
_SENT_KEYS = (
    "type",
    "asgi",
    "http_version",
    "method",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "client",
    "server",
)
_FRONT_HEADERS = frozenset({b"authorization", b"x-api-key", b"origin", b"x-request-id"})
"""What only the front looks at, or replaces."""


def make_front(replicas: Replicas, settings: ServerSettings) -> FastAPI:
    """Return the application that asks replicas.

    Args:
        replicas: Who answers.
        settings: How it behaves.
    """
    state = Admission(max_requests=settings.max_requests, max_requests_per_key=settings.max_requests_per_key)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = guarded_app(state, settings, life)
    forward = _Forwarding(replicas, state)

    @app.get("/health")
    @app.get("/health/live")
    async def live() -> Response:
        return AsciiJson({"status": "ok"})

    @app.get("/health/ready")
    async def ready(request: Request) -> Response:
        if state.is_draining:
            return AsciiJson({"status": "draining"}, 503, headers={"Retry-After": "10"})
        try:
            async with asyncio.timeout(_READY_SECONDS):
                async for _ in replicas.ask(_scope_for_replica(request.scope), b"", session=""):
                    pass
        except (TimeoutError, GenaiError):
            return AsciiJson({"status": "no replica answers"}, 503)
        return AsciiJson({"status": "ok"})

    @app.get("/metrics")
    async def metrics() -> Response:
        found = await replicas.metrics(timeout_seconds=_METRICS_SECONDS)
        return Response(
            merged_metrics(state.metrics.text(), found), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    app.mount("/", forward)
    return app


class _Forwarding:
    """Answers by what a replica says.

    Args:
        replicas: Who is asked.
        state: What counts the requests that run or wait.
    """

    def __init__(self, replicas: Replicas, state: Admission) -> None:
        self._replicas = replicas
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await read_bytes(request)
        reply = _Reply(scope, send)
        with contextlib.ExitStack() as needed:
            if request.method == "POST":  # what only looks is not counted, as in one process
                needed.enter_context(self._state.admitted(client_of(scope)))
            try:
                await while_connected(request, self._relay(request, body, reply))
            except ApiError:  # the client is gone, or every replica
                if not reply.has_begun:
                    raise

    async def _relay(self, request: Request, body: bytes, reply: _Reply) -> None:
        exchange = _read(request.url.path, body)
        session = session_of(
            request.headers.get(SESSION_HEADER), None if exchange is None else exchange.request
        )
        answer = self._replicas.ask(_scope_for_replica(request.scope), body, session=session)
        error: GenaiError
        try:
            with self._state.ended_by(_current_task().cancel):
                async for message in answer:
                    await reply.send(message)
            return
        except GenaiError as failed:
            error = failed
        except asyncio.CancelledError:
            if not self._state.is_cut:
                raise
            error = ended_error()
        finally:
            await answer.aclose()
        if not reply.has_begun or exchange is None:
            raise error
        note_error(request.scope, error)
        await reply.send({"type": "http.response.body", "body": _last_words(exchange, error)})


@dataclass(frozen=True, slots=True)
class _Route:
    """What the log and the counters look at of a route."""

    path: str


class _Reply:
    """What is sent to the client, and whether something was.

    Args:
        scope: Of the request, which learns which route answered.
        send: Sends it.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.has_begun = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a message of the application."""
        if message["type"] == "http.response.start":
            path = message.pop("genai.route", None)
            if path is not None:
                self._scope["route"] = _Route(path)
        self.has_begun = True
        await self._send(message)


def _scope_for_replica(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a replica is told of a request: nothing that is a secret, or that only the front decides on.

    Whose key it has goes beside the headers, where no client can write.
    """
    headers = [(name, value) for name, value in scope["headers"] if name not in _FRONT_HEADERS]
    headers.append((b"x-request-id", scope["state"]["request_id"].encode()))
    sent = {key: scope[key] for key in _SENT_KEYS if key in scope}
    return {**sent, "headers": headers, "root_path": "", "state": {"client": client_of(scope)}}


def _read(path: str, body: bytes) -> Exchange | None:
    """Return what a body asks for; None where it is no request for texts, or a wrong one, of which the replica says why."""
    if path not in INTERFACES:
        return None
    try:
        return read_body(path, json.loads(body))
    except (ValueError, RecursionError, GenaiError):
        return None


def _last_words(exchange: Exchange, error: GenaiError) -> bytes:
    """Return the events that end a stream which was cut, as its interface has them."""
    facts = AnswerFacts(exchange.request.model or "", time.time(), _no_tokenizer)
    events = exchange.events(facts).fail(error)
    return b"".join(map(exchange.framing.encode, events)) + exchange.framing.end


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _no_tokenizer() -> NoReturn:
    raise AssertionError("an error shows no tokens")
