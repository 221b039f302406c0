"""Fields of a JSON body, taken out one by one, so that what is left at the end is what nobody knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from genai.errors import OptionError, did_you_mean

__all__ = [
    "JSON_TYPES",
    "LABELS",
    "BodyError",
    "are_tokens",
    "body_fields",
    "drop_usual",
    "json_type",
    "refuse_rest",
    "take",
]

LABELS = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key"})
"""Fields that label a request for whoever sends it, and by their definition change nothing of the answer."""
JSON_TYPES: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "an integer",
    list: "a list",
    dict: "an object",
    float: "a number",
    type(None): "null",
}
"""What JSON's values are called in errors."""


class BodyError(OptionError):
    """A field of a body is missing, unknown or impossible.

    Args:
        message: What is wrong.
        field: The field.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message, option=field)


def body_fields(body: Any) -> dict[str, Any]:
    """Return a body's fields, without those that are null and those that only label it.

    Raises:
        BodyError: It is no object.
    """
    if not isinstance(body, Mapping):
        raise BodyError(f"the body must be a JSON object, not {json_type(body)}", "body")
    return {name: value for name, value in body.items() if value is not None and name not in LABELS}


def take(fields: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """Remove a field and return its value.

    Raises:
        BodyError: It is not of this type.
    """
    value = fields.pop(name, default)
    if value is not default and type(value) is not kind:
        raise BodyError(f"{name} must be {JSON_TYPES[kind]}, not {json_type(value)}", name)
    return value


def drop_usual(fields: dict[str, Any], usual: Mapping[str, tuple[Any, ...]]) -> None:
    """Remove fields that ask for what happens anyway.

    Args:
        fields: The fields.
        usual: Names of such fields, with the values that do.

    Raises:
        BodyError: One has another value.
    """
    for name in fields.keys() & usual.keys():
        value = fields.pop(name)
        if not any(value == known and type(value) is type(known) for known in usual[name]):
            raise BodyError(f"{name} can only be {json.dumps(usual[name][0])} here, not {value!r:.200}", name)


def refuse_rest(fields: Mapping[str, Any], *, known: Iterable[str]) -> None:
    """See that no field is left.

    Raises:
        BodyError: One is.
    """
    for name in fields:
        raise BodyError(f'unknown field "{name}".{did_you_mean(name, known)}', name)


def are_tokens(value: Any) -> bool:
    """Whether a value is a list of tokens that is not empty."""
    return isinstance(value, list) and bool(value) and all(type(each) is int and each >= 0 for each in value)


def json_type(value: Any) -> str:
    """Return what a value is in JSON's words."""
    return JSON_TYPES.get(type(value), type(value).__name__)
