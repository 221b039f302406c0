"""JSON values at random: any, and those that a JSON schema allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

__all__ = ["any_values", "values_of"]

_LARGEST = 2**70


def any_values() -> st.SearchStrategy[Any]:
    """Return values of every kind; a number that is an integer is one, since JSON does not tell 1 from 1.0."""
    simple = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 70),
        st.integers(-_LARGEST, _LARGEST),
        st.floats(allow_nan=False, allow_infinity=False).map(_as_integer),
        st.text(max_size=5),
    )
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    )


def values_of(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a schema allows, of the kinds that the options of a generation have."""
    if "not" in schema and "type" not in schema:
        return st.nothing()
    if "anyOf" in schema:
        return st.one_of(*map(values_of, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema["enum"] if "enum" in schema else [schema["const"]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of(*(values_of({**schema, "type": each}) for each in kind))
    if kind == "integer":
        return st.integers(schema.get("minimum", -_LARGEST), schema.get("maximum", _LARGEST))
    if kind == "number":
        return _numbers(schema)
    if kind == "string":
        return st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 8))
    if kind == "array":
        return _lists(schema)
    if kind == "object":
        return _objects(schema)
    simple: dict[Any, st.SearchStrategy[Any]] = {"boolean": st.booleans(), "null": st.none()}
    return simple.get(kind, any_values())


def _as_integer(value: float) -> float:
    return int(value) if value.is_integer() else value


def _numbers(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    low, high = (
        schema.get(name, schema.get(f"exclusive{name.capitalize()}")) for name in ("minimum", "maximum")
    )
    return st.floats(
        low,
        high,
        exclude_min="exclusiveMinimum" in schema,
        exclude_max="exclusiveMaximum" in schema,
        allow_nan=False,
        allow_infinity=False,
    ).map(_as_integer)


def _lists(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if "prefixItems" in schema:
        return st.tuples(*map(values_of, schema["prefixItems"])).map(list)
    items = values_of(schema.get("items", {}))
    return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 4))


def _objects(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    properties = {name: values_of(each) for name, each in schema.get("properties", {}).items()}
    required = set(schema.get("required", ()))
    fixed = st.fixed_dictionaries(
        {name: each for name, each in properties.items() if name in required},
        optional={name: each for name, each in properties.items() if name not in required},
    )
    others = schema.get("additionalProperties", {})
    if others is False:
        return fixed
    pattern = schema.get("propertyNames", {}).get("pattern", "^[a-z]{1,5}$")
    names = st.from_regex(pattern, fullmatch=True)
    return st.dictionaries(names, values_of(others), max_size=3).flatmap(
        lambda more: fixed.map(lambda known: {**more, **known})
    )
