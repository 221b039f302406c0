"""How bodies are described to programs: JSON schemas (https://json-schema.org/draft/2020-12), and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genai.wire.fields import LABELS
from genai.wire.framing import Framing

__all__ = [
    "COUNT",
    "FLAG",
    "OBJECT",
    "TEXT",
    "Schema",
    "Schemas",
    "body_schema",
    "label_fields",
    "list_of",
    "nullable",
    "object_of",
    "usual_fields",
]

Schema = Mapping[str, Any]
"""A JSON schema."""

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object"}
"""Some object; what it holds is said in words, or by another's definition."""


@dataclass(frozen=True, slots=True)
class Schemas:
    """What one interface takes and gives.

    Args:
        body: A request.
        answer: A whole answer.
        event: An event of a streamed one.
        framing: How its events are sent.
        error: What reports an error.
    """

    body: Schema
    answer: Schema
    event: Schema
    framing: Framing
    error: Schema


def object_of(properties: Mapping[str, Schema], *, optional: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of an object that has these properties, all but some of them always, and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def body_schema(fields: Mapping[str, Schema], *, required: Sequence[str]) -> dict[str, Any]:
    """Return the schema of a request's body, whose fields may be null, which leaves them out, unless they are required."""
    properties = {name: each if name in required else nullable(each) for name, each in fields.items()}
    optional = [name for name in fields if name not in required]
    return {**object_of(properties, optional=optional), "additionalProperties": {"type": "null"}}


def label_fields() -> dict[str, Schema]:
    """Return the fields that only label a request, whatever they are."""
    return {name: {"description": "Changes nothing of the answer."} for name in sorted(LABELS)}


def usual_fields(usual: Mapping[str, tuple[Any, ...]]) -> dict[str, Schema]:
    """Return the fields of `drop_usual`, which can only ask for what happens anyway."""
    return {name: {"enum": list(values)} for name, values in usual.items()}


def list_of(items: Schema, **limits: int) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **limits}


def nullable(schema: Schema) -> Schema:
    """Return the schema that allows null, too.

    >>> nullable({"type": "integer"})
    {'type': ['integer', 'null']}
    """
    if not schema.keys() - {"description"}:
        return schema
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    described = {"description": schema["description"]} if "description" in schema else {}
    return {
        **described,
        "anyOf": [
            {name: value for name, value in schema.items() if name != "description"},
            {"type": "null"},
        ],
    }
