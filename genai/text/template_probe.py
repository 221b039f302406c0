"""What a chat template does with tools and calls, found out by rendering a few: templates say it nowhere.

Some show the tools that they are given, Phi-4-mini's those that stand in the system message, and many none. Some write
the arguments of a call out themselves, others want them as JSON text, as OpenAI's form has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from genai.errors import ChatTemplateError, OptionError

__all__ = ["ToolPlace", "find_tool_place", "takes_objects", "tools_as_text", "with_arguments_as"]

ToolPlace = Literal["variable", "system", "nowhere"]
"""Where a template looks for tools: in the variable `tools`, or in the system message's key of that name."""
Render: TypeAlias = Callable[..., str]
"""Renders messages, with `tools` if they are given; may raise ChatTemplateError."""

_KEY, _VALUE = "probe_key", "probe_value"
_OBJECT = {_KEY: _VALUE}
_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "Probe.",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string", "description": "Probe."}}},
    },
}


def find_tool_place(render: Render) -> ToolPlace:
    """Return where a template looks for tools."""
    user = {"role": "user", "content": "a"}
    system = {"role": "system", "content": "b", "tools": tools_as_text([_TOOL])}
    places: tuple[tuple[ToolPlace, list[dict[str, Any]], list[dict[str, Any]] | None], ...] = (
        ("variable", [user], [_TOOL]),
        ("system", [system, user], None),
    )
    for place, messages, tools in places:
        try:
            if "probe_tool" in render(messages, tools=tools):
                return place
        except ChatTemplateError:
            continue
    return "nowhere"


def tools_as_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return tools as a system message has them."""
    return json.dumps([tool["function"] for tool in tools], ensure_ascii=False)


def takes_objects(render: Render) -> bool:
    """Whether a template is to get arguments as objects: it shows them, or shows texts no better."""
    return _shows(render, _OBJECT) or not _shows(render, json.dumps(_OBJECT))


def with_arguments_as(calls: Sequence[Any], *, objects: bool, where: str) -> list[Any]:
    """Return calls in OpenAI's form whose arguments are objects, or texts as they are; what is neither stays.

    Args:
        calls: The calls.
        objects: Whether objects are wanted; an empty text is one without members.
        where: The message that holds the calls, for errors.

    Raises:
        OptionError: Objects are wanted, and a text is none.

    >>> with_arguments_as([{"function": {"name": "f", "arguments": '{"a": 1}'}}], objects=True, where="messages[1]")
    [{'function': {'name': 'f', 'arguments': {'a': 1}}}]
    """
    return [
        _with_arguments_as(call, objects=objects, where=f"{where}.tool_calls[{index}]")
        for index, call in enumerate(calls)
    ]


def _with_arguments_as(call: Any, *, objects: bool, where: str) -> Any:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if objects and isinstance(arguments, str):
        arguments = _as_object(arguments, f"{where}.function.arguments")
    elif not objects and isinstance(arguments, Mapping):
        arguments = json.dumps(arguments, ensure_ascii=False)
    else:
        return call
    changed = {**(function or {}), "arguments": arguments}
    return {**call, "function": changed} if "function" in call else changed


def _as_object(arguments: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    raise OptionError(
        f"{where} must be the JSON text of an object, which this model's chat template shows: {arguments!r:.200} is none",
        option="messages",
    )


def _shows(render: Render, arguments: Any) -> bool:
    """Whether a template shows arguments as JSON or in words of its own, and not as Python would."""
    call = {"id": "call00000", "type": "function", "function": {"name": "probe", "arguments": arguments}}
    asked = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    answered = [*asked, {"role": "tool", "content": "b", "name": "probe", "tool_call_id": "call00000"}]
    for messages in (answered, asked):
        try:
            text = render(messages)
        except ChatTemplateError:
            continue
        return _VALUE in text and f"'{_KEY}'" not in text and f'\\"{_KEY}' not in text
    return False
