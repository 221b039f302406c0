"""Type hints and JSON: the schema of a hint, and a value of it made from JSON.

Knows no function; errors say where a hint stands.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Literal, Union

from genai.config.schema_keywords import subschemas
from genai.errors import OptionError

__all__ = ["Definitions", "build_value", "model_schema", "schema_of_annotation", "type_of"]

_SIMPLE: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_LISTS = (list, Sequence, set, frozenset, tuple)  # of which a schema says the same
_DEFINITIONS = "#/$defs/"
_MAPPINGS = (dict, Mapping, MutableMapping)


class Definitions:
    """The schemas of classes that others refer to, each class under a name of its own.

    Attributes:
        schemas: The schemas by name, as "$defs" has them.
    """

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self._names: dict[type, str] = {}

    def name_of(self, kind: type) -> str:
        """Return what a class is called: by its name alone, unless another one has that."""
        if kind not in self._names:
            is_taken = kind.__name__ in self.schemas
            self._names[kind] = f"{kind.__module__}.{kind.__qualname__}" if is_taken else kind.__name__
        return self._names[kind]


def type_of(value: Any) -> str:
    """Return the JSON type of a value.

    >>> type_of(True), type_of(1), type_of(1.5), type_of(None)
    ('boolean', 'integer', 'number', 'null')
    """
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if isinstance(value, kind):
            return name
    return "array" if isinstance(value, (list, tuple)) else "object"


def schema_of_annotation(hint: Any, *, where: str, definitions: Definitions) -> dict[str, Any]:
    """Return the JSON schema of a type hint.

    Args:
        hint: The hint, resolved.
        where: What it belongs to, for errors.
        definitions: Takes the schemas of dataclasses and models, which are referred to.

    Raises:
        OptionError: JSON has no counterpart for it.

    >>> schema_of_annotation(list[int] | None, where="f: a", definitions=Definitions())
    {'anyOf': [{'type': 'array', 'items': {'type': 'integer'}}, {'type': 'null'}]}
    """
    if hint is Any:
        return {}
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)

    def inner(each: Any) -> dict[str, Any]:
        return schema_of_annotation(each, where=where, definitions=definitions)

    if origin is typing.Annotated:
        texts = [each for each in arguments[1:] if isinstance(each, str)]
        return {**inner(arguments[0]), **({"description": texts[0]} if texts else {})}
    if origin in (Union, types.UnionType):
        return {"anyOf": [inner(each) for each in arguments]}
    if origin is Literal:
        return _enumeration(list(arguments))
    if origin in (typing.Required, typing.NotRequired):
        return inner(arguments[0])
    if _is_one_of(origin or hint, _LISTS):
        return _list_schema(origin or hint, arguments, inner)
    if _is_one_of(origin or hint, _MAPPINGS):
        return _mapping_schema(arguments, inner, where)
    if inspect.isclass(hint):
        return _class_schema(hint, inner, where, definitions)
    raise _no_counterpart(hint, where)


def model_schema(model: Any) -> dict[str, Any]:
    """Return the JSON schema of a pydantic model, in which no object has room for what no field takes.

    Pydantic leaves that room where a model would read such properties only to drop them; where `extra="allow"` keeps them,
    its schema says so, and they stay possible.
    """
    schema: dict[str, Any] = copy.deepcopy(
        model.model_json_schema()
    )  # parts of it may be the model's own settings
    for part in subschemas(schema):
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    return schema


def build_value(value: Any, hint: Any, *, where: str) -> Any:
    """Return a value of a type hint made from JSON.

    Raises:
        OptionError: It is none of the hint's values.

    >>> build_value([1, 2], tuple[int, ...], where="f: a")
    (1, 2)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return build_value(value, arguments[0], where=where)
    if origin in (Union, types.UnionType):
        return _build_union(value, arguments, where)
    if origin is Literal:
        return _checked(
            value, any(value == each and type(value) is type(each) for each in arguments), hint, where
        )
    kind = origin or hint
    if _is_one_of(kind, _LISTS):
        return _build_list(value, kind, arguments, where)
    if _is_one_of(kind, _MAPPINGS):
        _checked(value, isinstance(value, Mapping), hint, where)
        return (
            {key: build_value(each, arguments[1], where=where) for key, each in value.items()}
            if arguments
            else value
        )
    if kind in _SIMPLE:
        if kind is float and type(value) is int:
            return float(value)
        return _checked(value, type_of(value) == _SIMPLE[kind], hint, where)
    return _build_object(value, kind, where)


# --- schemas ---


def _is_one_of(kind: Any, kinds: tuple[Any, ...]) -> bool:
    return any(kind is each for each in kinds)


def _enumeration(values: list[Any]) -> dict[str, Any]:
    kinds = {type_of(value) for value in values}
    return {**({"type": kinds.pop()} if len(kinds) == 1 else {}), "enum": values}


def _list_schema(
    kind: Any, arguments: tuple[Any, ...], inner: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [inner(each) for each in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return {"type": "array", **({"items": inner(arguments[0])} if arguments else {})}


def _mapping_schema(
    arguments: tuple[Any, ...], inner: Callable[[Any], dict[str, Any]], where: str
) -> dict[str, Any]:
    if arguments and arguments[0] is not str:
        raise OptionError(f"{where}: the keys of a JSON object are texts, not {_name_of(arguments[0])}")
    return {"type": "object", **({"additionalProperties": inner(arguments[1])} if arguments else {})}


def _class_schema(
    hint: Any, inner: Callable[[Any], dict[str, Any]], where: str, definitions: Definitions
) -> dict[str, Any]:
    """Return the schema of an enum, or a reference to one of a dataclass, a TypedDict or a pydantic model."""
    if issubclass(hint, enum.Enum):
        return _enumeration([member.value for member in hint])
    name, schemas = definitions.name_of(hint), definitions.schemas
    reference = {"$ref": _DEFINITIONS + name}
    if name in schemas:
        return reference
    if hasattr(hint, "model_json_schema"):
        schemas |= _model_schemas(model_schema(hint), name, schemas)
        return reference
    if not dataclasses.is_dataclass(hint) and not typing.is_typeddict(hint):
        raise _no_counterpart(hint, where)
    schemas[name] = {}  # a class may contain itself
    hints = typing.get_type_hints(hint, include_extras=True)
    is_required = _fields(hint, hints)
    schemas[name] = {
        "type": "object",
        "properties": {each: inner(hints[each]) for each in is_required},
        "required": [each for each, needed in is_required.items() if needed],
        "additionalProperties": False,
    }
    return reference


def _model_schemas(schema: dict[str, Any], name: str, taken: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return pydantic's schema of a model under a name, and those that it refers to under names that no others have."""
    found: dict[str, Any] = schema.pop("$defs", {})
    own = None
    if schema.keys() == {"$ref"}:  # it contains itself: what it is stands among the others
        own = str(schema["$ref"]).removeprefix(_DEFINITIONS)
        schema = found.pop(own)
    is_taken = any(each == name or taken.get(each, inner) != inner for each, inner in found.items())
    names = {each: f"{name}.{each}" if is_taken else each for each in found}
    targets = {_DEFINITIONS + each: _DEFINITIONS + new for each, new in names.items()}
    if own is not None:
        targets[_DEFINITIONS + own] = _DEFINITIONS + name
    schemas = {names[each]: inner for each, inner in found.items()} | {name: schema}
    return {each: _with_targets(inner, targets) for each, inner in schemas.items()}


def _with_targets(schema: Any, targets: Mapping[str, str]) -> Any:
    """Return a schema that refers to others by new names."""
    if isinstance(schema, str):
        return targets.get(schema, schema)
    if isinstance(schema, list):
        return [_with_targets(each, targets) for each in schema]
    if isinstance(schema, dict):
        return {key: _with_targets(each, targets) for key, each in schema.items()}
    return schema


def _fields(kind: Any, hints: Mapping[str, Any]) -> dict[str, bool]:
    """Return the fields of a dataclass or a TypedDict, and whether each must be there."""
    if dataclasses.is_dataclass(kind):
        return {
            field.name: field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            for field in dataclasses.fields(kind)
            if field.init
        }
    origins = {name: typing.get_origin(hint) for name, hint in hints.items()}
    return {  # not __required_keys__, which cannot read annotations that are texts
        name: origin is typing.Required or (kind.__total__ and origin is not typing.NotRequired)
        for name, origin in origins.items()
    }


def _no_counterpart(hint: Any, where: str) -> OptionError:
    return OptionError(
        f"{where}: JSON has no counterpart of {_name_of(hint)}: use str, int, float, bool, list, dict, Literal, an "
        "enum, a dataclass or a pydantic model"
    )


def _name_of(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) and not typing.get_args(hint) else str(hint)


# --- values ---


def _build_union(value: Any, options: tuple[Any, ...], where: str) -> Any:
    """Return the value of the first option that takes it as it is, else of the first that takes it at all."""
    exact = [each for each in options if _SIMPLE.get(each) == type_of(value)]
    for option in (*exact, *options):
        try:
            return build_value(value, option, where=where)
        except OptionError:
            continue
    raise OptionError(f"{where} must be {' or '.join(map(_name_of, options))}, not {value!r:.200}")


def _build_list(value: Any, kind: Any, arguments: tuple[Any, ...], where: str) -> Any:
    _checked(value, isinstance(value, (list, tuple)), kind, where)
    each_has_own = kind is tuple and arguments and arguments[-1] is not Ellipsis
    if each_has_own and len(arguments) != len(value):
        raise OptionError(f"{where} must be {len(arguments)} values, not {len(value)}")
    hints = arguments if each_has_own else [arguments[0] if arguments else Any] * len(value)
    made = [build_value(item, hint, where=where) for item, hint in zip(value, hints, strict=True)]
    return kind(made) if kind in (tuple, set, frozenset) else made


def _build_object(value: Any, kind: Any, where: str) -> Any:
    """Return an enum's member, or an object of a class, made of its JSON value."""
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        _checked(value, value in [member.value for member in kind], kind, where)
        return kind(value)
    if hasattr(kind, "model_validate"):
        try:
            return kind.model_validate(value)
        except ValueError as error:
            raise OptionError(f"{where}: {error}") from error
    _checked(value, isinstance(value, Mapping), kind, where)
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in value:
        if name not in hints:
            raise OptionError(f'{where}: {_name_of(kind)} has no field "{name}"')
    made = {name: build_value(each, hints[name], where=f"{where}.{name}") for name, each in value.items()}
    try:
        return kind(**made)
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from error


def _checked(value: Any, is_good: bool, hint: Any, where: str) -> Any:
    if not is_good:
        raise OptionError(f"{where} must be {_name_of(hint)}, not {value!r:.200}")
    return value
