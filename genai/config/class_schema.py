"""JSON schemas of classes, and instances of the classes from JSON: pydantic's models by their own means, dataclasses here.

A dataclass may hold str, int, float, bool, None, `Literal`, enums of such values, `Any`, unions, lists, tuples, dicts with
keys of str, and other dataclasses, itself included.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from genai.errors import OptionError

__all__ = ["ClassReader", "class_reader"]

_SCALARS: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_LISTS = (list, Sequence)
_DICTS = (dict, Mapping)


class ClassReader(Protocol):
    """Makes instances of a class of JSON."""

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON schema of its instances.

        Raises:
            OptionError: The class has none.
        """
        ...

    def read(self, text: str, /) -> Any:
        """Return the instance that a JSON text stands for.

        Raises:
            ValueError: The class refuses it.
        """
        ...


def class_reader(cls: type) -> ClassReader:
    """Return what reads instances of a class.

    Raises:
        OptionError: It is neither a pydantic model nor a dataclass.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: int
    ...     label: str | None = None
    >>> reader = class_reader(Point)
    >>> reader.schema()["properties"]
    {'x': {'type': 'integer'}, 'label': {'anyOf': [{'type': 'string'}, {'type': 'null'}]}}
    >>> reader.read('{"x": 1}')
    Point(x=1, label=None)
    """
    if dataclasses.is_dataclass(cls):
        return _DataclassReader(cls)
    if hasattr(cls, "model_json_schema") and hasattr(cls, "model_validate_json"):
        return _PydanticReader(cls)
    raise OptionError(
        f"response_format must be a pydantic model or a dataclass where it is a class, not {cls.__qualname__}"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _PydanticReader:
    model: Any

    def schema(self) -> Mapping[str, Any]:
        try:
            schema: Mapping[str, Any] = self.model.model_json_schema()
        except Exception as error:  # pydantic's own kinds, which need not be installed
            raise OptionError(
                f"response_format: {self.model.__qualname__} has no JSON schema: {error}"
            ) from error
        return schema

    def read(self, text: str) -> Any:
        return self.model.model_validate_json(text)


@dataclasses.dataclass(frozen=True, slots=True)
class _DataclassReader:
    cls: Any

    def schema(self) -> Mapping[str, Any]:
        definitions: dict[str, Any] = {}
        reference = _schema_of(self.cls, definitions)
        own = definitions.pop(_name_of(self.cls)) if len(definitions) == 1 else None
        if own is not None and json.dumps(reference) not in json.dumps(own):  # nothing refers to it
            return dict(own)
        if own is not None:
            definitions[_name_of(self.cls)] = own
        return {**reference, "$defs": definitions}

    def read(self, text: str) -> Any:
        return _instance_of(self.cls, json.loads(text))


def _name_of(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; those of dataclasses are gathered in `definitions`."""
    if hint is Any:
        return {}
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if dataclasses.is_dataclass(hint):
        name = _name_of(hint)
        if name not in definitions:
            definitions[name] = None  # so that it may refer to itself
            definitions[name] = _object_schema(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema_of(part, definitions) for part in parts]}
    if origin in _LISTS:
        return {"type": "array", "items": _schema_of(parts[0] if parts else Any, definitions)}
    if origin is tuple and parts[1:] == (...,):
        return {"type": "array", "items": _schema_of(parts[0], definitions)}
    if origin is tuple and parts:
        items = [_schema_of(part, definitions) for part in parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in _DICTS and parts[:1] in ((), (str,)):
        return {
            "type": "object",
            "additionalProperties": _schema_of(parts[1] if parts else Any, definitions),
        }
    raise OptionError(f"response_format: a dataclass has a field of type {hint!r}, which has no JSON schema")


def _object_schema(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, fields = _hints_of(cls), [field for field in dataclasses.fields(cls) if field.init]
    missing = dataclasses.MISSING
    return {
        "type": "object",
        "properties": {field.name: _schema_of(hints[field.name], definitions) for field in fields},
        "required": [f.name for f in fields if f.default is missing and f.default_factory is missing],
        "additionalProperties": False,
    }


def _hints_of(cls: Any) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except NameError as error:
        raise OptionError(
            f"response_format: the types of {cls.__qualname__} cannot be read: {error}"
        ) from error


def _instance_of(hint: Any, value: Any) -> Any:
    """Return a JSON value as its type has it.

    Raises:
        ValueError: It is none of the type.
    """
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = _hints_of(hint)
        if not isinstance(value, dict) or not value.keys() <= hints.keys():
            raise ValueError(f"{value!r:.200} is no {hint.__qualname__}")
        return hint(**{name: _instance_of(hints[name], each) for name, each in value.items()})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if hint is float and type(value) is int:
        return float(value)
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_instance(parts, value)
    if origin in _LISTS and isinstance(value, list):
        return [_instance_of(parts[0] if parts else Any, each) for each in value]
    if origin is tuple and isinstance(value, list):
        each_hint = parts[:1] * len(value) if parts[1:] == (...,) else parts
        return tuple(_instance_of(part, each) for part, each in zip(each_hint, value, strict=True))
    if origin in _DICTS and isinstance(value, dict):
        return {key: _instance_of(parts[1] if parts else Any, each) for key, each in value.items()}
    is_one = value in parts if origin is Literal else hint is Any or type(value) is hint
    if not is_one:
        raise ValueError(f"{value!r:.200} is no {hint}")
    return value


def _first_instance(hints: Sequence[Any], value: Any) -> Any:
    """Return a value as the first of a union's types has it that it is of, exactly if it can be."""
    if type(value) in hints:
        return value
    for hint in hints:
        try:
            return _instance_of(hint, value)
        except (ValueError, TypeError):
            continue
    raise ValueError(f"{value!r:.200} is none of {hints}")
