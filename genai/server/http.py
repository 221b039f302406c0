"""Bodies in, events out: JSON that was read with care, work that ends when nobody waits for it, and streams of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from genai.wire import ApiError, BodyError, Event, Framing

__all__ = ["CLIENT_CLOSED_REQUEST", "EventStream", "HeadAsGet", "read_bytes", "read_json", "while_connected"]

_Value = TypeVar("_Value")
_EXACT = 2**53
"""Below it every integer is a float."""
CLIENT_CLOSED_REQUEST = 499
"""The status that proxies log where a client went away; nobody receives it."""


async def read_json(request: Request) -> Any:
    """Return the JSON value of a request's body.

    Raises:
        ApiError: It is none, or the client is gone before all of it has come.
        BodyError: An object of it has two members of one name, of which each reader would take another.
    """
    body = await read_bytes(request)
    try:
        return json.loads(
            body, parse_constant=_refuse_constant, parse_float=_number, object_pairs_hook=_members
        )
    except BodyError:
        raise
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is no JSON: {error}", status=400) from error


async def read_bytes(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        ApiError: The client is gone before all of it has come.
    """
    try:
        return await request.body()
    except ClientDisconnect:
        raise _client_is_gone() from None


def _number(text: str) -> float:
    """Return a number; JSON does not tell 5.0 from 5, and some clients write the one for the other."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text:.100} is beyond all numbers")
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BodyError(f'"{twice}" stands twice in one object of the body', twice)
    return members


async def while_connected(request: Request, work: Coroutine[Any, Any, _Value]) -> _Value:
    """Return what work comes to; it is cancelled as soon as the client is gone.

    Raises:
        ApiError: The client is gone.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _client_is_gone()
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await working


def _client_is_gone() -> ApiError:
    return ApiError("the client closed the connection", status=CLIENT_CLOSED_REQUEST)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _framed(events: AsyncIterator[Event], framing: Framing) -> AsyncIterator[bytes]:
    async for event in events:
        yield framing.encode(event)
    yield framing.end


class EventStream(StreamingResponse):
    """Events as they come, and what they need until they have ended or the client is gone.

    Args:
        events: The events.
        framing: How they are sent.
        needed: What is let go at the end.
    """

    def __init__(
        self, events: AsyncIterator[Event], framing: Framing, needed: contextlib.AsyncExitStack
    ) -> None:
        super().__init__(
            _framed(events, framing), media_type=framing.media_type, headers={"Cache-Control": "no-store"}
        )
        self._needed = needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._needed:
            await super().__call__(scope, receive, send)


class HeadAsGet:
    """Answers HEAD as GET, of which servers leave out the body (RFC 9110, 9.3.2).

    Args:
        app: What answers GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send)
        finally:
            if "route" in asked:  # which the log counts
                scope["route"] = asked["route"]
