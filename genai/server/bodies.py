"""Bodies as they come from the network: how large, how coded, and how long they are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers

from genai.server.errors import error_response
from genai.server.guards import App, Receive, Scope, Send
from genai.wire import ApiError

__all__ = ["BodyCheck"]


class BodyCheck:
    """Refuses bodies that are too large before they are in memory, that are compressed, or that stop coming.

    Args:
        app: What is guarded.
        max_bytes: Most bytes of a body.
        timeout_seconds: How long the next bytes of a body are waited for.
    """

    def __init__(self, app: App, *, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(Headers(scope=scope))
        except ApiError as error:
            await error_response(error, scope["path"])(scope, receive, send)
            return
        num_bytes, is_whole = 0, False

        async def receive_some() -> MutableMapping[str, Any]:
            nonlocal num_bytes, is_whole
            if is_whole:  # what comes now is the client's leaving, for which nobody is in a hurry
                return await receive()
            message = await self._in_time(receive)
            is_whole = not message.get("more_body", False)
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, receive_some, send)

    def _check(self, headers: Headers) -> None:
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise self._too_large()
        encoding = headers.get("content-encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            raise ApiError(
                f"bodies are taken as they are, not with Content-Encoding: {encoding}",
                status=415,
                headers={"Accept-Encoding": "identity"},  # RFC 9110, 15.5.16
            )

    async def _in_time(self, receive: Receive) -> MutableMapping[str, Any]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await receive()
        except TimeoutError:
            raise ApiError(
                f"nothing of the body came for {self._timeout_seconds:g} s, and it is not whole: is its Content-Length right?",
                status=408,
                code="body_timeout",
                headers={"Connection": "close"},
            ) from None

    def _too_large(self) -> ApiError:
        return ApiError(f"the body is larger than {self._max_bytes:,} bytes", status=413)
