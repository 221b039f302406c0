"""Errors as OpenAI's clients know them: what is wrong, with which field, by which code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.errors import GenaiError, ModelNotFoundError, OptionError, PromptTooLongError
from genai.wire.errors import ApiError, status_of

__all__ = ["error_body"]

_CODES: Mapping[type[GenaiError], str] = {
    ModelNotFoundError: "model_not_found",
    PromptTooLongError: "context_length_exceeded",
}


def error_body(error: GenaiError) -> dict[str, Any]:
    """Return the body that reports an error."""
    return {
        "error": {
            "message": str(error),
            "type": _type_of(status_of(error)),
            "param": error.option if isinstance(error, OptionError) else None,
            "code": error.code if isinstance(error, ApiError) else _CODES.get(type(error)),
        }
    }


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
