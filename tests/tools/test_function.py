"""Schemas of Python functions, and arguments as functions want them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai import OptionError
from genai.config.annotations import Definitions, build_value, schema_of_annotation
from genai.tools import Tool, as_tools, tool
from genai.tools.schema import types_of


class Unit(enum.Enum):
    CELSIUS = "C"
    KELVIN = "K"


@dataclasses.dataclass
class Place:
    city: str
    height: float = 0.0
    near: list[Place] = dataclasses.field(default_factory=list)


class Span(pydantic.BaseModel):
    days: int = pydantic.Field(ge=1)


class Extra(TypedDict):
    label: str
    weight: NotRequired[float]


def forecast(
    place: Place,
    span: Span,
    unit: Unit = Unit.CELSIUS,
    *,
    mode: Literal["short", "long"] = "short",
    tags: list[str] | None = None,
    extra: dict[str, Extra] = {},  # noqa: B006
    note: Annotated[str, "Anything else."] = "",
) -> Any:
    """Tell the weather,
    at least some of it.

    Second paragraph.

    Args:
        place: Where.
            It may be anywhere.
        span (Span): For how long.
        unit: What temperatures are in.

    Returns:
        What it was called with.
    """
    return place, span, unit, mode, tags, extra, note


class Node(pydantic.BaseModel):
    label: str
    children: list[Node] = []


def model_of(name: str, **fields: Any) -> Any:
    return pydantic.create_model(name, **{key: (hint, ...) for key, hint in fields.items()})


def test_models_contain_themselves_and_share_names() -> None:
    node = {"label": "a", "children": [{"label": "b"}]}
    one = model_of("One", item=model_of("Item", size=int))
    two = model_of("Two", items=list[model_of("Item", word=str)], root=Node)
    definitions = Definitions()
    properties = {
        each: schema_of_annotation(hint, where="f", definitions=definitions)
        for each, hint in {"one": one, "node": Node, "two": two, "item": model_of("Item", more=bool)}.items()
    }
    schema = {"type": "object", "properties": properties, "$defs": definitions.schemas}
    value = {"one": {"item": {"size": 1}}, "node": node}
    value |= {"two": {"items": [{"word": "w"}], "root": node}, "item": {"more": True}}
    jsonschema.validate(value, schema)
    for wrong in (
        {"one": {"item": {"word": "w"}}},
        {"two": {"items": [{"size": 1}], "root": node}},
        {"item": {"size": 1}},
        {"node": {"label": "a", "children": [{"label": 1}]}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**value, **wrong}, schema)


def test_the_schema_of_a_function() -> None:
    made = tool(forecast)
    function = made.schema["function"]
    assert made.schema["type"] == "function"
    assert (made.name, function["name"]) == ("forecast", "forecast")
    assert function["description"] == "Tell the weather, at least some of it.\n\nSecond paragraph."
    place = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "height": {"type": "number"},
            "near": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    extra = {
        "type": "object",
        "properties": {"label": {"type": "string"}, "weight": {"type": "number"}},
        "required": ["label"],
        "additionalProperties": False,
    }
    definitions = function["parameters"].pop("$defs")
    assert definitions["Place"] == place
    assert definitions["Extra"] == extra
    assert definitions["Span"]["properties"]["days"]["minimum"] == 1
    assert definitions["Span"]["additionalProperties"] is False
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "place": {"$ref": "#/$defs/Place", "description": "Where. It may be anywhere."},
            "span": {"$ref": "#/$defs/Span", "description": "For how long."},
            "unit": {
                "type": "string",
                "enum": ["C", "K"],
                "description": "What temperatures are in.",
                "default": "C",
            },
            "mode": {"type": "string", "enum": ["short", "long"], "default": "short"},
            "tags": {
                "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                "default": None,
            },
            "extra": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Extra"}},
            "note": {"type": "string", "description": "Anything else.", "default": ""},
        },
        "required": ["place", "span"],
        "additionalProperties": False,
    }


def test_arguments_become_what_the_function_wants() -> None:
    arguments = {
        "place": {"city": "Paris", "height": 35, "near": [{"city": "Sceaux"}]},
        "span": {"days": 2},
        "unit": "K",
        "mode": "long",
        "extra": {"a": {"label": "b"}},
    }
    place, span, unit, mode, tags, extra, note = tool(forecast).call(arguments)
    assert place == Place("Paris", 35.0, [Place("Sceaux")])
    assert isinstance(place.height, float)
    assert span == Span(days=2)
    assert (unit, mode, tags, extra, note) == (Unit.KELVIN, "long", None, {"a": {"label": "b"}}, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, 'forecast: the argument "place" is missing'),
        ({"plce": 1}, 'forecast has no parameter "plce": it has place, span'),
        ({"place": "Paris", "span": {}}, "forecast: place must be Place, not 'Paris'"),
        ({"place": {"city": 5}, "span": {}}, "forecast: place.city must be str, not 5"),
        ({"place": {"town": ""}, "span": {}}, 'forecast: place: Place has no field "town"'),
        ({"place": {}, "span": {}}, "forecast: place: .*missing.*city"),
        ({"place": {"city": ""}, "span": {"days": 0}}, "(?s)forecast: span: .*days"),
        ({"place": {"city": ""}, "span": {"days": 1}, "unit": "F"}, "forecast: unit must be Unit, not 'F'"),
        (
            {"place": {"city": ""}, "span": {"days": 1}, "mode": "x"},
            "forecast: mode must be .*'short', 'long'",
        ),
        ({"place": {"city": ""}, "span": {"days": 1}, "tags": "x"}, "forecast: tags must be .* or NoneType"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        tool(forecast).call(arguments)


def no_hint(a) -> None: ...  # type: ignore[no-untyped-def]
def any_number(*values: int) -> None: ...
def odd_type(a: Callable[[], int]) -> None: ...
def odd_keys(a: dict[int, str]) -> None: ...
def by_place(a: int, /) -> None: ...
def unknown(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (no_hint, "no_hint: the parameter a needs a type hint, such as a: str"),
        (any_number, "any_number: a model passes arguments by name, so values must be"),
        (by_place, "by_place: a model passes arguments by name, so a must be"),
        (odd_type, "odd_type: a: JSON has no counterpart of .*Callable"),
        (odd_keys, "odd_keys: a: the keys of a JSON object are texts, not int"),
        (unknown, "unknown: its type hints cannot be read: .*Nowhere"),
        (lambda: None, "a tool must be a function with a name"),
    ],
)
def test_functions_that_are_no_tools_are_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        tool(function)


def test_tools_of_every_kind() -> None:
    def now(zone: str = "UTC") -> str:
        """Tell the time."""
        return zone

    schema = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    bare = {"name": "sub", "description": "Subtract."}
    made = as_tools([now, tool(forecast), schema, bare])
    assert [each.name for each in made] == ["now", "forecast", "add", "sub"]
    assert made[0].call({}) == "UTC"
    assert made[2].schema == schema
    assert made[3].parameters == {"type": "object", "properties": {}}
    with pytest.raises(OptionError, match='the tool "sub" is only a schema'):
        made[3].call({})


@pytest.mark.parametrize("key", ["parameters", "input_schema"])
def test_parameters_may_have_the_name_that_anthropic_gives_them(key: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    (made,) = as_tools([{"name": "f", "description": "d", key: schema}])
    function = {"name": "f", "description": "d", "parameters": schema}
    assert made.schema == {"type": "function", "function": function}


def test_what_describes_more_of_a_function_is_kept() -> None:
    function = {
        "name": "f",
        "strict": True,
        "return": {"type": "string"},
        "x-cost": 1,
        "parameters": {"x-a": 1},
    }
    schema = {"type": "function", "function": function}
    assert as_tools([schema])[0].schema == schema


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("add", "tools must be a list"),
        ({"name": "add"}, "tools must be a list"),
        ([{"type": "function"}], "a tool's schema must have the form"),
        ([{"name": "has space"}], "a tool's schema must have the form"),
        ([{"name": "a", "parameters": []}, {"name": "a"}], 'two tools are called "a"'),
        ([{"type": "custom", "name": "a"}], "a tool's schema must have the form"),
        ([{"name": "a", "paramters": {}}], 'the tool "a" has no key "paramters". Did you mean "parameters"?'),
        (
            [{"name": "a", "q": 1}],
            'the tool "a" has no key "q". There are: type, name, description, parameters',
        ),
        (
            [{"function": {"name": "a"}, "description": ""}],
            'the tool "a" has no key "description". There are: type',
        ),
        (
            [{"function": {"name": "a", "descripton": ""}}],
            'the tool "a" has no key "descripton". Did you mean',
        ),
        ([{"name": "a", "parameters": {}, "input_schema": {}}], 'the tool "a" has no key "input_schema"'),
        ([{"name": "a", "parameters": "x"}], 'the parameters of the tool "a" must be a JSON schema'),
    ],
    ids=str,
)
def test_what_is_no_list_of_tools_is_refused(tools: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        as_tools(tools)


HINTS: Sequence[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (bool, st.booleans()),
    (list[int], st.lists(st.integers())),
    (dict[str, bool], st.dictionaries(st.text(), st.booleans())),
    (str | int | None, st.text() | st.integers() | st.none()),
    (list[str | None], st.lists(st.text() | st.none())),
    (Literal[1, "a", True], st.sampled_from([1, "a", True])),
    (Any, st.text()),
]


@given(st.sampled_from(HINTS).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_values_of_json_types_stay_what_they_are(pair: tuple[Any, Any]) -> None:
    hint, value = pair
    assert build_value(value, hint, where="f: a") == value
    schema_of_annotation(hint, where="f: a", definitions=Definitions())


def test_a_tool_is_still_the_function() -> None:
    @tool
    def double(value: int) -> int:
        """Double it."""
        return 2 * value

    assert isinstance(double, Tool)
    assert double(4) == 8
    assert double.call({"value": 4}) == 8


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"properties": []}, '"properties" must be an object of schemas'),
        ({"required": "a"}, '"required" must be a list of names'),
        ({"properties": {"a": {"anyOf": {}}}}, 'a: "anyOf" must be a list of schemas'),
        ({"properties": {"a": {"items": [3]}}}, "a: items must be a JSON schema, not 3"),
        ({"$defs": {"b": None}}, "b must be a JSON schema, not None"),
        ({"propertes": {}}, '"propertes" is no keyword of JSON Schema. Did you mean "properties"'),
        ({"properties": {"a": {"typ": "string"}}}, '"typ" is no keyword of JSON Schema. Did you mean "type"'),
    ],
)
def test_a_schema_out_of_shape_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f'the parameters of the tool "f".*{message}'):
        as_tools([{"name": "f", "parameters": parameters}])
    as_tools([{"name": "f", "parameters": {"properties": {"a": True, "b": {"items": [True, {}]}}}}])


def test_references_in_circles_are_followed_once() -> None:
    names = [f"t{index}" for index in range(60)]
    options = [{"$ref": f"#/$defs/{name}"} for name in names]
    root = {"$defs": {name: {"anyOf": [*options, {"type": "integer"}]} for name in names}}
    assert types_of({"anyOf": options}, root) == {"integer"}
    assert "string" in types_of(
        {"$ref": "#/$defs/a"}, {"$defs": {"a": {"$ref": "#/$defs/a"}}}
    )  # it says nothing
