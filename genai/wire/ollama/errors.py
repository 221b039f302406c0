"""Errors as Ollama's clients know them: a text."""

from __future__ import annotations

from typing import Any

from genai.errors import GenaiError

__all__ = ["error_body"]


def error_body(error: GenaiError) -> dict[str, Any]:
    """Return the body that reports an error."""
    return {"error": str(error)}
