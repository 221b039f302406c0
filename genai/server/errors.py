"""Errors as OpenAI's clients know them: a status, and a body that says what is wrong, with which field, by which code."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from genai.errors import GenaiError, GenerationError, ModelNotFoundError
from genai.server.ascii_json import AsciiJson
from genai.wire import error_body, is_callers_fault

__all__ = ["ApiError", "error_response", "status_of"]


class ApiError(GenaiError):
    """A request is refused for what it is, not for what it asks to generate.

    Args:
        message: What is wrong.
        status: The HTTP status.
        code: OpenAI's word for it, which programs look at.
        headers: Of the response.
    """

    def __init__(
        self, message: str, *, status: int, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error."""
    match error:
        case ApiError():
            return error.status
        case ModelNotFoundError():
            return 404
        case GenaiError() if is_callers_fault(error):
            return 400
        case _:
            return 500


def error_response(error: BaseException) -> Response:
    """Return the response that reports an error; of one that is not genai's own only that there was one."""
    if isinstance(error, ApiError):
        body = error_body(error, code=error.code)
        body["error"]["type"] = _type_of(error.status)
        return AsciiJson(body, error.status, headers=error.headers)
    if not isinstance(error, GenaiError):
        error = GenerationError("the server failed; its log says more")
    return AsciiJson(error_body(error), status_of(error))


def _type_of(status: int) -> str:
    """Return OpenAI's name for the kind of an error."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
