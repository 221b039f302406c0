"""The interfaces that there are: the path of each, what reads its bodies, and what tells its clients of an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genai.errors import GenaiError
from genai.wire.exchange import Exchange
from genai.wire.openai import Completion, error_body

__all__ = ["CHAT", "COMPLETIONS", "INTERFACES", "Interface", "error_body_for", "read_body"]

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass(frozen=True, slots=True)
class Interface:
    """One way of asking for texts.

    Args:
        summary: What it does, in a few words.
        read: Reads a body; raises `BodyError` where a field is not what it should be.
        error_body: Returns the body that reports an error.
    """

    summary: str
    read: Callable[[Any], Exchange]
    error_body: Callable[[GenaiError], dict[str, Any]] = error_body


INTERFACES: Mapping[str, Interface] = {
    CHAT: Interface("Answer a conversation.", Completion.read_chat),
    COMPLETIONS: Interface("Continue texts.", Completion.read_text),
}
"""By the path of its requests."""


def read_body(path: str, body: Any) -> Exchange:
    """Read the body of a request to one of `INTERFACES`.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    return INTERFACES[path].read(body)


def error_body_for(path: str, error: GenaiError) -> dict[str, Any]:
    """Return the body that reports an error to who asked at a path, which need not be an interface's."""
    interface = INTERFACES.get(path)
    return error_body(error) if interface is None else interface.error_body(error)
