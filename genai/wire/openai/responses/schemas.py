"""The bodies of responses as JSON schemas; what items, tools and forms hold they say in outline."""

from __future__ import annotations

import functools
from typing import Any

from genai.config import option_schemas
from genai.wire.framing import NAMED_EVENTS
from genai.wire.openai.responses.requests import LOGPROBS, PACKED, REFUSED, RENAMED, USUAL
from genai.wire.openai.schemas import ERROR
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
    usual_fields,
)

__all__ = ["responses_schemas"]


@functools.cache
def responses_schemas() -> Schemas:
    """Return those of responses."""
    options = {name: schema for name, schema in option_schemas().items() if name not in REFUSED}
    fields: dict[str, Schema] = {
        "input": {"anyOf": [TEXT, list_of(OBJECT, minItems=1)]},
        "instructions": TEXT,
        "model": TEXT,
        "stream": FLAG,
        "stream_options": object_of(
            {"include_obfuscation": {"const": False}}, optional=["include_obfuscation"]
        ),
        "tools": list_of(OBJECT),
        "tool_choice": {"anyOf": [TEXT, OBJECT]},
        "parallel_tool_calls": FLAG,
        "priority": {"type": "integer"},
        "chat_template_kwargs": OBJECT,
        "reasoning": OBJECT,
        "include": list_of({"enum": [LOGPROBS, PACKED]}),
        "text": OBJECT,
        "truncation": {"enum": ["auto", "disabled"]},
        **options,
        **{name: options[option] for name, option in RENAMED.items()},
        **usual_fields(USUAL),
        **label_fields(),
        "metadata": OBJECT,
    }
    return Schemas(body_schema(fields, required=["input"]), _response(), _event(), NAMED_EVENTS, ERROR)


def _response() -> dict[str, Any]:
    known = {
        "id": TEXT,
        "object": {"const": "response"},
        "status": {"enum": ["completed", "incomplete", "cancelled"]},
        "output": list_of({"type": "object", "required": ["type", "id"]}),
    }
    return {"type": "object", "properties": known, "required": list(known)}


def _event() -> dict[str, Any]:
    return {"type": "object", "properties": {"type": TEXT}, "required": ["type"]}
