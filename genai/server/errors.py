"""What clients are told of errors, in the words of the interface that was asked, and what the log says of those that are ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genai.errors import GenaiError, GenerationError
from genai.server.ascii_json import AsciiJson
from genai.server.observed import note_error
from genai.server.state import Admission, ended_error
from genai.wire import ApiError, error_body_for, status_of

__all__ = ["LastResort", "error_response", "report_error", "told_error"]

logger = logging.getLogger("genai.server")


def told_error(error: Exception, scope: MutableMapping[str, Any]) -> GenaiError:
    """Return what a client is told of an error, note it, and log it if it is none of the client's.

    Of an error that is not genai's own it says only that there was one.

    Args:
        error: The error.
        scope: The request's.
    """
    note_error(scope, error)
    if status_of(error) >= 500 and not isinstance(error, ApiError):
        logger.error("request %s failed", scope["state"].get("request_id"), exc_info=error)
    if isinstance(error, GenaiError):
        return error
    return GenerationError("the server failed; its log says more")


def error_response(error: GenaiError, path: str) -> Response:
    """Return the response that reports an error to who asked at a path."""
    headers = error.headers if isinstance(error, ApiError) else None
    return AsciiJson(error_body_for(path, error), status_of(error), headers=headers)


async def report_error(request: Request, error: Exception) -> Response:
    """Return the response that reports an error, as a framework's handler of exceptions."""
    return error_response(told_error(error, request.scope), request.url.path)


class LastResort:
    """Reports errors that nobody foresaw, inside the other layers, so that they too are logged and counted as what they are.

    Args:
        app: What may fail.
        state: Whether the server is being ended, which cancels what does not end by itself.
    """

    def __init__(self, app: ASGIApp, *, state: Admission) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            if has_begun:
                raise  # the connection is cut, since nothing else can tell it
            response = error_response(told_error(error, scope), scope["path"])
            await response(scope, receive, send)
        except asyncio.CancelledError:
            if not self._state.is_cut:
                raise
            told = told_error(ended_error(), scope)
            if not has_begun:
                await error_response(told, scope["path"])(scope, receive, send)
