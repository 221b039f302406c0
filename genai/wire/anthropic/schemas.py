"""Anthropic's bodies as JSON schemas; what blocks and tools hold they say in outline."""

from __future__ import annotations

import functools
from typing import Any

from genai.config import option_schemas
from genai.wire.anthropic.requests import NOT_SHOWN, RENAMED, USUAL
from genai.wire.framing import NAMED_EVENTS
from genai.wire.schemas import (
    COUNT,
    OBJECT,
    TEXT,
    Schema,
    Schemas,
    body_schema,
    label_fields,
    list_of,
    nullable,
    object_of,
    usual_fields,
)

__all__ = ["COUNTED", "ERROR", "count_schema", "messages_schemas"]

ERROR: Schema = object_of({"type": {"const": "error"}, "error": object_of({"type": TEXT, "message": TEXT})})
COUNTED: Schema = object_of({"input_tokens": COUNT})


@functools.cache
def messages_schemas() -> Schemas:
    """Return those of messages."""
    options = {name: schema for name, schema in option_schemas().items() if name not in NOT_SHOWN}
    fields = {
        **_prompt_fields(),
        "stream": {"type": "boolean"},
        "chat_template_kwargs": OBJECT,
        **{name: schema for name, schema in options.items() if name != "max_new_tokens"},
        **{name: options[option] for name, option in RENAMED.items()},
    }
    body = body_schema(fields, required=["messages", "max_tokens"])
    return Schemas(body, _message(), _event(), NAMED_EVENTS, ERROR)


def count_schema() -> Schema:
    """Return that of a request for the number of tokens."""
    return body_schema({**_prompt_fields(), "chat_template_kwargs": OBJECT}, required=["messages"])


def _prompt_fields() -> dict[str, Schema]:
    turn = {
        "type": "object",
        "properties": {"role": TEXT, "content": {"anyOf": [TEXT, list_of(OBJECT)]}},
        "required": ["role", "content"],
    }
    return {
        "model": TEXT,
        "messages": list_of(turn, minItems=1),
        "system": {"anyOf": [TEXT, list_of(OBJECT)]},
        "tools": list_of(OBJECT),
        "tool_choice": OBJECT,
        "thinking": OBJECT,
        "output_config": OBJECT,
        "cache_control": OBJECT,
        **usual_fields(USUAL),
        **label_fields(),
    }


def _message() -> dict[str, Any]:
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    return object_of(
        {
            "id": TEXT,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": TEXT,
            "content": list_of({"type": "object", "properties": {"type": TEXT}, "required": ["type"]}),
            "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use"]},
            "stop_sequence": nullable(TEXT),
            "usage": object_of(dict.fromkeys(counts, COUNT)),
        }
    )


def _event() -> dict[str, Any]:
    return {"type": "object", "properties": {"type": TEXT}, "required": ["type"]}
