"""Which tools a model may or must call, in the forms that OpenAI's chat completions and responses have for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genai.wire.fields import BodyError

__all__ = ["read_tool_choice"]


def read_tool_choice(fields: dict[str, Any], tools: Sequence[Any] | None) -> dict[str, Any]:
    """Take `tool_choice` out of a body's fields, and return what it changes among a conversation's arguments.

    Of several that are allowed the model is shown no others.

    Args:
        fields: The fields.
        tools: The body's tools.

    Raises:
        BodyError: It allows tools that there are not, or is for tools that are no functions.
    """
    choice = fields.pop("tool_choice", None)
    if choice is None:
        return {}
    if not isinstance(choice, Mapping):
        return {"tool_choice": choice}
    kind = choice.get("type")
    if kind == "function":
        return {"tool_choice": choice}
    if kind != "allowed_tools":
        raise BodyError(
            f'tool_choice: there is no type {kind!r:.100} here; there are: "function", "allowed_tools"',
            "tool_choice",
        )
    allowed = choice.get("allowed_tools", choice)
    mode = allowed.get("mode", "auto") if isinstance(allowed, Mapping) else None
    listed = allowed.get("tools") if isinstance(allowed, Mapping) else None
    if mode not in ("auto", "required") or not isinstance(listed, list) or not listed:
        raise BodyError(
            'tool_choice: allowed_tools must have a mode, "auto" or "required", and a list of tools',
            "tool_choice",
        )
    names = [_name(each) for each in listed]
    of_name = {_name(each): each for each in tools or ()}
    for name in names:
        if name is None or name not in of_name:
            raise BodyError(
                f"tool_choice: allowed_tools has {name!r:.100}, which is none of tools", "tool_choice"
            )
    return {"tool_choice": mode, "tools": [of_name[name] for name in dict.fromkeys(names)]}


def _name(tool: Any) -> str | None:
    """Return the name of a function, in a nested form or a flat one."""
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None
