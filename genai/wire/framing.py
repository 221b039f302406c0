"""How JSON objects are sent one after another: as events that a server sends, with names or without, or as lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EVENTS", "LINES", "NAMED_EVENTS", "Framing"]


@dataclass(frozen=True, slots=True)
class Framing:
    """How the events of a stream become bytes.

    Args:
        media_type: What the stream is called.
        encode: Returns the bytes of one event, in ASCII, since a text may hold halves of characters, which UTF-8 has not.
        end: What comes behind the last one.
    """

    media_type: str
    encode: Callable[[Mapping[str, Any]], bytes]
    end: bytes = b""


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _event(value: Mapping[str, Any]) -> bytes:
    return f"data: {_json(value)}\n\n".encode()


def _named_event(value: Mapping[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {_json(value)}\n\n".encode()


def _line(value: Mapping[str, Any]) -> bytes:
    return f"{_json(value)}\n".encode()


_SERVER_SENT = "text/event-stream"
"""https://html.spec.whatwg.org/multipage/server-sent-events.html"""
EVENTS = Framing(_SERVER_SENT, _event, b"data: [DONE]\n\n")
NAMED_EVENTS = Framing(_SERVER_SENT, _named_event)
"""Each is named after its "type"."""
LINES = Framing("application/x-ndjson", _line)
