"""What became of a request that was not answered: an HTTP status, whichever interface then tells it in its own words."""

from __future__ import annotations

from collections.abc import Mapping

from genai.errors import ChatTemplateError, GenaiError, ModelNotFoundError, OptionError

__all__ = ["ApiError", "status_of"]


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
    """Return the HTTP status of an error: 400 or 404 where another request would have been answered."""
    match error:
        case ApiError():
            return error.status
        case ModelNotFoundError():
            return 404
        case OptionError() | ChatTemplateError():
            return 400
        case _:
            return 500
