"""Errors as Anthropic's clients know them (https://docs.anthropic.com/en/api/errors)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.errors import GenaiError
from genai.wire.errors import status_of

__all__ = ["error_body"]

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""By status; other errors are the request's or the server's."""


def error_body(error: GenaiError) -> dict[str, Any]:
    """Return the body that reports an error."""
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(error)}}
