"""Anthropic's tools and choices among them, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.wire.fields import BodyError, json_type

__all__ = ["plain_choice", "plain_tools"]

_MARKS = frozenset({"cache_control", "eager_input_streaming"})
"""Keys that change nothing of what a model sees or may call."""
_USUAL: Mapping[str, Any] = {"defer_loading": False, "allowed_callers": ["direct"], "input_examples": []}
"""Keys that ask for what happens here anyway, with that value."""


def plain_tools(tools: Any) -> list[dict[str, Any]]:
    """Return tools as functions with a schema of their parameters.

    Raises:
        BodyError: They are no list of tools, or one is not a client's own.
    """
    if not isinstance(tools, list):
        raise BodyError(f"tools must be a list of tools, not {json_type(tools)}", "tools")
    return [_function(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def plain_choice(choice: Any) -> tuple[str | dict[str, Any], bool]:
    """Return a choice among tools, and whether there may be one call only.

    Raises:
        BodyError: It is none.
    """
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise BodyError(
            'tool_choice must be an object with the type "auto", "any", "tool" or "none"', "tool_choice"
        )
    is_single = choice.get("disable_parallel_tool_use") or False
    if not isinstance(is_single, bool):
        raise BodyError("tool_choice: disable_parallel_tool_use must be true or false", "tool_choice")
    known = {"type", "disable_parallel_tool_use", *(("name",) if kind == "tool" else ())}
    if unknown := choice.keys() - known:
        raise BodyError(f'tool_choice of the type {kind} has no "{min(unknown)}"', "tool_choice")
    if kind != "tool":
        return {"auto": "auto", "any": "required", "none": "none"}[kind], is_single
    if not isinstance(choice.get("name"), str):
        raise BodyError('tool_choice of the type tool needs a "name"', "tool_choice")
    return {"type": "function", "function": {"name": choice["name"]}}, is_single


def _function(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise BodyError(f"{where} must be an object, not {json_type(tool)}", "tools")
    values = {name: value for name, value in tool.items() if value is not None and name not in _MARKS}
    kind = values.pop("type", "custom")
    if kind != "custom":
        raise BodyError(
            f"{where}: the type {kind!r:.100} stands for a tool that Anthropic describes or runs: give one of your own, with a "
            "name and an input_schema",
            "tools",
        )
    for name, usual in _USUAL.items():
        if values.pop(name, usual) != usual:
            raise BodyError(f"{where}: {name} can only be {usual} here", "tools")
    if not isinstance(values.get("input_schema"), Mapping):
        raise BodyError(f'{where} needs an "input_schema", the JSON schema of its input', "tools")
    values["parameters"] = values.pop("input_schema")
    return {"type": "function", "function": values}
