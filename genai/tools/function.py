"""Python functions as tools: a schema from the signature and docstring, and arguments as the function wants them.

>>> @tool
... def add(a: int, b: int = 1) -> int:
...     '''Add two numbers.
...
...     Args:
...         a: The first number.
...         b: The second.
...     '''
...     return a + b
>>> add.schema["function"]["parameters"]["required"]
['a']
>>> add.call({"a": 2}), add(2, 3)
(3, 5)
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from genai.config.annotations import Definitions, build_value, schema_of_annotation
from genai.config.docstring import read_docstring
from genai.config.schema_keywords import check_keywords, subschemas
from genai.errors import OptionError, did_you_mean
from genai.tools.schema import check_shape

__all__ = ["Tool", "ToolLike", "as_tools", "tool"]

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_KEYS = ("name", "description", "parameters", "strict", "return", "response")
"""What a function's schema may hold; what it returns, transformers calls "return" and Gemma "response"."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Args:
        name: What the model calls it.
        schema: How chat templates show it: OpenAI's form, `{"type": "function", "function": {...}}`.
        function: The Python function; `None` where only its schema is known.
    """

    name: str
    schema: Mapping[str, Any]
    function: Callable[..., Any] | None = None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON schema of its arguments."""
        parameters: Mapping[str, Any] = self.schema["function"]["parameters"]
        return parameters

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with arguments as JSON has them.

        Dataclasses, pydantic models and enums are made of their JSON values first.

        Raises:
            OptionError: There is no function, an argument is missing or unknown, or it is no value of its type.
            Exception: Whatever the function raises.
        """
        if self.function is None:
            raise OptionError(f'the tool "{self.name}" is only a schema: there is no function to call')
        known = _parameters(self.function, self.name)
        for name in arguments:
            if name not in known:
                raise OptionError(
                    f'{self.name} has no parameter "{name}": it has {", ".join(known) or "none"}'
                )
        for name, parameter in known.items():
            if name not in arguments and parameter.default is inspect.Parameter.empty:
                raise OptionError(f'{self.name}: the argument "{name}" is missing')
        hints = _hints(self.function, self.name)
        return self.function(
            **{
                name: build_value(value, hints[name], where=f"{self.name}: {name}")
                for name, value in arguments.items()
            }
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as Python does."""
        if self.function is None:
            raise OptionError(f'the tool "{self.name}" is only a schema: there is no function to call')
        return self.function(*args, **kwargs)


ToolLike: TypeAlias = Tool | Callable[..., Any] | Mapping[str, Any]
"""A tool, a function, or a function's JSON schema in OpenAI's form."""


def tool(function: Callable[..., Any]) -> Tool:
    """Make a tool of a function: its name, its first paragraph as description, and a schema of its parameters.

    Types may be str, int, float, bool, list, dict, tuple, Literal, unions with None and others, enums, dataclasses,
    TypedDicts and pydantic models; descriptions come from the section "Args:" of a Google-style docstring.

    Raises:
        OptionError: A parameter has no type, one that JSON has no counterpart for, or takes any number of values.
    """
    name = getattr(function, "__name__", "")
    if not callable(function) or not _NAME.fullmatch(name):
        raise OptionError(
            f"a tool must be a function with a name of letters, digits, _, . or -, not {function!r:.200}"
        )
    parameters, hints = _parameters(function, name), _hints(function, name)
    description, of_parameters = read_docstring(inspect.getdoc(function) or "")
    definitions = Definitions()
    properties: dict[str, Any] = {}
    for each, parameter in parameters.items():
        schema = schema_of_annotation(hints[each], where=f"{name}: {each}", definitions=definitions)
        if each in of_parameters:
            schema["description"] = of_parameters[each]
        if parameter.default is not inspect.Parameter.empty:
            _add_default(schema, parameter.default)
        properties[each] = schema
    required = [each for each, p in parameters.items() if p.default is inspect.Parameter.empty]
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **({"$defs": definitions.schemas} if definitions.schemas else {}),
    }
    declared = {"name": name, "description": description, "parameters": schema}
    return Tool(name, {"type": "function", "function": declared}, function)


def as_tools(tools: Sequence[ToolLike]) -> tuple[Tool, ...]:
    """Return tools of functions and schemas.

    Raises:
        OptionError: One is neither, a schema has no name, or two have the same.
    """
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence):
        raise OptionError("tools must be a list of functions or of JSON schemas in OpenAI's form")
    made = tuple(_at_its_place(each, f"tools[{index}]") for index, each in enumerate(tools))
    for number, each in enumerate(made):
        if each.name in {other.name for other in made[:number]}:
            raise OptionError(
                f'two tools are called "{each.name}": a model could not tell them apart',
                option=f"tools[{number}]",
            )
    return made


def _at_its_place(value: ToolLike, place: str) -> Tool:
    """Return a tool; an error about a schema names where that stands."""
    try:
        return _as_tool(value)
    except OptionError as error:
        error.option = f"{place}{error.option or ''}"
        raise


def _as_tool(value: ToolLike) -> Tool:
    if isinstance(value, Tool):
        return value
    if not isinstance(value, Mapping):
        return tool(value)
    inner = value.get("function", value)
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if value.get("type", "function") != "function" or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(
            'a tool\'s schema must have the form {"type": "function", "function": {"name": ..., "description": ..., '
            f'"parameters": ...}}}}, with a name of letters, digits, _, . or -; not {dict(value)!r:.200}'
        )
    inner, where = _checked_keys(value, inner, f'the tool "{name}"'), f'the parameters of the tool "{name}"'
    parameters = inner.get("parameters") or {"type": "object", "properties": {}}
    try:
        _check_parameters(parameters, where)
    except OptionError as error:
        error.option = ".function.parameters" if "function" in value else ".parameters"
        raise
    around = value if "function" in value else {}
    return Tool(name, {**around, "type": "function", "function": {**inner, "parameters": parameters}})


def _check_parameters(parameters: Any, where: str) -> None:
    if not isinstance(parameters, Mapping):
        raise OptionError(f"{where} must be a JSON schema, not {parameters!r:.200}")
    try:
        check_shape(parameters, where)
    except RecursionError as error:
        raise OptionError(f"{where} are nested too deeply") from error
    for part in subschemas(parameters):
        check_keywords(part, where)


def _checked_keys(value: Mapping[str, Any], inner: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what describes the function, its parameters by that name, once no key of it or around it is unknown."""
    is_bare = inner is value
    if not is_bare:
        _check_keys(value, ("type", "function"), where)
    inner = dict(inner)
    if "parameters" not in inner and "input_schema" in inner:  # Anthropic's word
        inner["parameters"] = inner.pop("input_schema")
    _check_keys(inner, ("type", *_KEYS) if is_bare else _KEYS, where)
    inner.pop("type", None)
    return inner


def _check_keys(value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in value:
        if key not in known and not str(key).startswith("x-"):
            hint = did_you_mean(str(key), known) or f" There are: {', '.join(known)}."
            raise OptionError(f'{where} has no key "{key}".{hint}')


# --- signatures and docstrings ---


def _parameters(function: Callable[..., Any], name: str) -> Mapping[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:
        raise OptionError(f"{name} has no signature to make a schema of: wrap it in a function") from error
    for each, parameter in parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise OptionError(
                f"{name}: a model passes arguments by name, so {each} must be a parameter with one"
            )
    return parameters


def _hints(function: Callable[..., Any], name: str) -> Mapping[str, Any]:
    target = inspect.unwrap(function.func if isinstance(function, functools.partial) else function)
    written = {k: v for k, v in getattr(target, "__annotations__", {}).items() if k != "return"}
    try:
        hints = typing.get_type_hints(
            types.SimpleNamespace(__annotations__=written),  # what it returns need not be readable
            globalns=getattr(target, "__globals__", {}),
            include_extras=True,
        )
    except (NameError, TypeError) as error:
        raise OptionError(f"{name}: its type hints cannot be read: {error}") from error
    for each in _parameters(function, name):
        if each not in hints:
            raise OptionError(f"{name}: the parameter {each} needs a type hint, such as {each}: str")
    return hints


def _add_default(schema: dict[str, Any], default: Any) -> None:
    """Show a default that JSON has a form for."""
    value = getattr(default, "value", default)
    if value is None or isinstance(value, (bool, int, float, str)):
        schema["default"] = value
