"""JSON schemas of functions: which types a parameter may have, and a text as a value of one of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from genai.config import type_of
from genai.errors import OptionError

__all__ = [
    "check_shape",
    "coerce",
    "parameters_of",
    "parse_json",
    "resolve",
    "types_of",
    "without_annotations",
]

_EVERY_TYPE = frozenset({"string", "integer", "number", "boolean", "null", "array", "object"})
_PYTHON_WORDS: Mapping[str, Any] = {"True": True, "False": False, "None": None}
_ANNOTATIONS = (
    "title",
    "description",
    "examples",
    "default",
    "$comment",
    "deprecated",
    "readOnly",
    "writeOnly",
)
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_VALUES = ("enum", "const", "required")


def parameters_of(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the schemas of a function's parameters, by name."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {str(name): value for name, value in properties.items() if isinstance(value, Mapping)}


def check_shape(schema: Any, where: str) -> None:
    """See that a schema, and each in it, has the parts that are looked at here in a form that can be.

    Raises:
        OptionError: One has not.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise OptionError(f"{where} must be a JSON schema, not {schema!r:.200}")
    required = schema.get("required", [])
    if not isinstance(required, (list, tuple)) or not all(isinstance(name, str) for name in required):
        raise OptionError(f'{where}: "required" must be a list of names, not {required!r:.200}')
    for key in _BY_NAME:
        if not isinstance(inner := schema.get(key, {}), Mapping):
            raise OptionError(f'{where}: "{key}" must be an object of schemas, not {inner!r:.200}')
        for name, each in inner.items():
            check_shape(each, f"{where}: {name}")
    for key in ("anyOf", "oneOf", "allOf"):
        if not isinstance(options := schema.get(key, []), (list, tuple)):
            raise OptionError(f'{where}: "{key}" must be a list of schemas, not {options!r:.200}')
        for each in options:
            check_shape(each, f"{where}: {key}")
    items = schema.get("items", True)
    for each in items if isinstance(items, (list, tuple)) else [items]:
        check_shape(each, f"{where}: items")


def types_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    """Return the JSON types that a schema allows.

    Args:
        schema: The schema of one parameter.
        root: The schema that holds its definitions.

    >>> sorted(types_of({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {}))
    ['integer', 'null']
    """
    found: set[str] = set()
    followed: set[str] = set()  # of references, which may go round in circles
    left: list[Any] = [schema]
    while left:
        each = left.pop()
        if not isinstance(each, Mapping):  # True is a schema, too
            return _EVERY_TYPE
        if isinstance(reference := each.get("$ref"), str):
            if reference not in followed:
                followed.add(reference)
                left.append(resolve(reference, root))
        elif isinstance(kind := each.get("type"), str):
            found.add(kind)
        elif isinstance(kind, (list, tuple)):
            found.update(map(str, kind))
        elif "const" in each:
            found.add(type_of(each["const"]))
        elif isinstance(values := each.get("enum"), (list, tuple)):
            found.update(map(type_of, values))
        elif options := next(filter(None, map(each.get, ("anyOf", "oneOf", "allOf"))), None):
            left.extend(options)
        else:
            return _EVERY_TYPE
    return frozenset(found) or _EVERY_TYPE


def resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a reference within a schema points to; `None` where there is nothing."""
    target: Any = root
    for key in reference.removeprefix("#").strip("/").split("/"):
        target = target.get(key) if isinstance(target, Mapping) else None
    return target if isinstance(target, Mapping) else None


def without_annotations(schema: Any) -> Any:
    """Return a schema without what only people and models read: titles, descriptions, examples, defaults.

    >>> without_annotations({"title": "T", "properties": {"title": {"type": "string", "default": ""}}})
    {'properties': {'title': {'type': 'string'}}}
    """
    if isinstance(schema, (list, tuple)):
        return [without_annotations(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _VALUES:
            kept[key] = value
        elif key in _BY_NAME and isinstance(value, Mapping):
            kept[key] = {name: without_annotations(each) for name, each in value.items()}
        elif key not in _ANNOTATIONS:
            kept[key] = without_annotations(value)
    return kept


def coerce(text: str, schema: Mapping[str, Any] | None, root: Mapping[str, Any]) -> Any:
    """Return the value that a text without quotes stands for; what fits no type of the schema stays text.

    >>> coerce("5", {"type": "integer"}, {}), coerce("5", {"type": "string"}, {}), coerce("5", None, {})
    (5, '5', '5')
    """
    if schema is None:
        return text
    types = types_of(schema, root)
    if types == {"string"}:
        return text
    stripped = text.strip()
    try:
        value = _PYTHON_WORDS[stripped] if stripped in _PYTHON_WORDS else parse_json(stripped)
    except ValueError:
        return text
    kind = type_of(value)
    if kind == "number" and "number" not in types and "integer" in types and value.is_integer():
        return int(value)
    if kind == "string" and kind in types:
        return text  # one that happens to stand in quotes
    return value if kind in types or (kind == "integer" and "number" in types) else text


def parse_json(text: str) -> Any:
    """Return the value of a JSON text, as RFC 8259 has it: finite, whole characters, and no deeper than Python can follow.

    Raises:
        ValueError: It is none.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # an escape may stand for half a character
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large")
    return value
