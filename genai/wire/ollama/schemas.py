"""Ollama's bodies as JSON schemas; what messages, options and answers hold they say in outline."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from genai.wire.framing import LINES
from genai.wire.schemas import (
    FLAG,
    OBJECT,
    TEXT,
    Schema,
    Schemas,
    body_schema,
    label_fields,
    list_of,
    object_of,
)

__all__ = ["ollama_chat_schemas", "ollama_generate_schemas"]

_ERROR: Schema = object_of({"error": TEXT})
_COMMON: Mapping[str, Schema] = {
    "model": TEXT,
    "stream": {**FLAG, "description": "Whether the answer comes as lines; it does if this is left out."},
    "options": OBJECT,
    "format": {"anyOf": [TEXT, OBJECT]},
    "keep_alive": {"type": ["string", "number"]},
    "think": {"type": ["boolean", "string"]},
    "logprobs": FLAG,
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "truncate": FLAG,
    **label_fields(),
}


@functools.cache
def ollama_chat_schemas() -> Schemas:
    """Return those of conversations."""
    return _schemas({"messages": list_of(OBJECT), "tools": list_of(OBJECT), **_COMMON})


@functools.cache
def ollama_generate_schemas() -> Schemas:
    """Return those of prompts."""
    refused: dict[str, Schema] = {
        "suffix": {"const": ""},
        "template": {"const": ""},
        "context": {"maxItems": 0, "type": "array"},
        "images": {"maxItems": 0, "type": "array"},
    }
    return _schemas({"prompt": TEXT, "system": TEXT, "raw": FLAG, **refused, **_COMMON})


def _schemas(fields: Mapping[str, Schema]) -> Schemas:
    return Schemas(body_schema(fields, required=[]), OBJECT, OBJECT, LINES, _ERROR)
