"""Responses that report errors, in the words of the interface that was asked."""

from __future__ import annotations

from starlette.responses import Response

from genai.errors import GenaiError, GenerationError
from genai.server.ascii_json import AsciiJson
from genai.wire import ApiError, error_body_for, status_of

__all__ = ["error_response"]


def error_response(error: BaseException, path: str) -> Response:
    """Return the response that reports an error to who asked at a path.

    Of an error that is not genai's own it says only that there was one.
    """
    if not isinstance(error, GenaiError):
        error = GenerationError("the server failed; its log says more")
    headers = error.headers if isinstance(error, ApiError) else None
    return AsciiJson(error_body_for(path, error), status_of(error), headers=headers)
