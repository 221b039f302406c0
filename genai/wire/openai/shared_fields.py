"""Fields that several of OpenAI's interfaces have alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.wire.fields import BodyError, take

__all__ = ["RENAMED", "read_stream_options"]

RENAMED: Mapping[str, str] = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
    "n": "num_return_sequences",
}
"""What completions call options."""


def read_stream_options(fields: dict[str, Any], known: str, *, is_stream: bool) -> bool:
    """Return what `stream_options` says of the one field that it may have.

    Raises:
        BodyError: It is no such object, or nothing is streamed.
    """
    options = take(fields, "stream_options", dict, {})
    if options and not is_stream:
        raise BodyError("stream_options needs stream to be true", "stream_options")
    if unknown := options.keys() - {known}:
        raise BodyError(f'stream_options has an unknown field "{min(unknown)}"', "stream_options")
    if not isinstance(options.get(known, False), bool):
        raise BodyError(f"stream_options: {known} must be true or false", "stream_options")
    return bool(options.get(known, False))
