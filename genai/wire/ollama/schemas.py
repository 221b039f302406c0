"""Ollama's bodies as JSON schemas; what messages, options and answers hold they say in outline."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from genai.wire.fields import LABELS
from genai.wire.framing import LINES
from genai.wire.schemas import TEXT, Schema, Schemas, body_schema, list_of, object_of

__all__ = ["ollama_chat_schemas", "ollama_generate_schemas"]

_FLAG: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_ERROR: Schema = object_of({"error": TEXT})
_COMMON: Mapping[str, Schema] = {
    "model": TEXT,
    "stream": {**_FLAG, "description": "Whether the answer comes as lines; it does if this is left out."},
    "options": _OBJECT,
    "format": {"anyOf": [TEXT, _OBJECT]},
    "keep_alive": {"type": ["string", "number"]},
    "think": {"type": ["boolean", "string"]},
    "logprobs": _FLAG,
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "truncate": _FLAG,
    **{name: {"description": "Changes nothing of the answer."} for name in sorted(LABELS)},
}


@functools.cache
def ollama_chat_schemas() -> Schemas:
    """Return those of conversations."""
    return _schemas({"messages": list_of(_OBJECT), "tools": list_of(_OBJECT), **_COMMON})


@functools.cache
def ollama_generate_schemas() -> Schemas:
    """Return those of prompts."""
    refused: dict[str, Schema] = {
        "suffix": {"const": ""},
        "template": {"const": ""},
        "context": {"maxItems": 0, "type": "array"},
        "images": {"maxItems": 0, "type": "array"},
    }
    return _schemas({"prompt": TEXT, "system": TEXT, "raw": _FLAG, **refused, **_COMMON})


def _schemas(fields: Mapping[str, Schema]) -> Schemas:
    return Schemas(body_schema(fields, required=[]), _OBJECT, _OBJECT, LINES, _ERROR)
