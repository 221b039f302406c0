"""Ollama's bodies as JSON schemas; what messages, options and answers hold they say in outline."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from genai.wire.framing import LINES
from genai.wire.messages import TAKEN_ROLES
from genai.wire.schemas import (
    COUNT,
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

__all__ = [
    "EMBED",
    "EMBEDDED",
    "ERROR",
    "LOADED",
    "OLD_EMBED",
    "OLD_EMBEDDED",
    "SHOW",
    "SHOWN",
    "TAGS",
    "VERSION",
    "ollama_chat_schemas",
    "ollama_generate_schemas",
]

_VECTOR = list_of({"type": "number"})
_KEEP_ALIVE: Schema = {"type": ["string", "number"]}
ERROR: Schema = object_of({"error": TEXT})
VERSION: Schema = object_of({"version": TEXT})
_MESSAGE: Schema = {
    "type": "object",
    "properties": {"role": {"enum": list(TAKEN_ROLES)}},
    "required": ["role"],
}
_COMMON: Mapping[str, Schema] = {
    "model": TEXT,
    "stream": {**FLAG, "description": "Whether the answer comes as lines; it does if this is left out."},
    "options": OBJECT,
    "format": {"anyOf": [TEXT, OBJECT]},
    "keep_alive": _KEEP_ALIVE,
    "think": {"type": ["boolean", "string"]},
    "logprobs": FLAG,
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "truncate": FLAG,
    **label_fields(),
}

_DETAILS: Schema = object_of(
    {
        "parent_model": TEXT,
        "format": TEXT,
        "family": TEXT,
        "families": list_of(TEXT),
        "parameter_size": TEXT,
        "quantization_level": TEXT,
    }
)
_NAMED: Mapping[str, Schema] = {"name": TEXT, "model": TEXT}
_KNOWN: Mapping[str, Schema] = {"size": COUNT, "digest": TEXT, "details": _DETAILS}
TAGS: Schema = object_of(
    {
        "models": list_of(
            object_of({**_NAMED, "modified_at": TEXT, **_KNOWN}, optional=["modified_at", *_KNOWN])
        )
    }
)
LOADED: Schema = object_of(
    {
        "models": list_of(
            object_of({**_NAMED, **_KNOWN, "expires_at": TEXT, "size_vram": COUNT, "context_length": COUNT})
        )
    }
)
SHOW: Schema = body_schema({"model": TEXT, "name": TEXT, "verbose": {"const": False}}, required=["model"])
SHOWN: Schema = object_of(
    {
        "modified_at": TEXT,
        "license": TEXT,
        "template": TEXT,
        "parameters": TEXT,
        "details": _DETAILS,
        "model_info": OBJECT,
        "capabilities": list_of(TEXT),
    }
)
_EMBED: Mapping[str, Schema] = {
    "model": TEXT,
    "truncate": FLAG,
    "keep_alive": _KEEP_ALIVE,
    "options": {**OBJECT, "maxProperties": 0},
}
EMBED: Schema = body_schema({"input": {"anyOf": [TEXT, list_of(TEXT)]}, **_EMBED}, required=[])
EMBEDDED: Schema = object_of(
    {"model": TEXT, "embeddings": list_of(_VECTOR), "total_duration": COUNT, "prompt_eval_count": COUNT}
)
OLD_EMBED: Schema = body_schema({"prompt": TEXT, **_EMBED}, required=[])
OLD_EMBEDDED: Schema = object_of({"embedding": _VECTOR})


@functools.cache
def ollama_chat_schemas() -> Schemas:
    """Return those of conversations."""
    return _schemas({"messages": list_of(_MESSAGE), "tools": list_of(OBJECT), **_COMMON})


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
    return Schemas(body_schema(fields, required=[]), OBJECT, OBJECT, LINES, ERROR)
