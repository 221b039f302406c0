"""Tools told in plain words, for models whose chat template knows none.

What they then answer is read as `GENERIC`. Knows messages as templates see them, and no template.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from genai.tools.function import Tool

__all__ = ["tell_tools", "without_tool_roles"]

_INSTRUCTIONS = (
    "You may call functions. To call one, answer with nothing but a JSON object of the form "
    '{"name": "the function", "arguments": {"a parameter": "its value"}}, or with a list of such objects to call '
    "several. The results come in the next message. Otherwise answer in words. The functions are:\n"
)


def tell_tools(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], *, in_system: bool
) -> list[dict[str, Any]]:
    """Return a conversation that begins with what the tools are, in its system message or in its first message."""
    told = _INSTRUCTIONS + "\n".join(
        json.dumps(tool.schema["function"], ensure_ascii=False) for tool in tools
    )
    conversation = [*map(dict, messages)]
    role = "system" if in_system else "user"
    if (
        conversation
        and conversation[0].get("role") == role
        and isinstance(conversation[0].get("content"), str)
    ):
        first = conversation[0]["content"]
        both = f"{first}\n\n{told}" if in_system else f"{told}\n\n{first}"
        return [{**conversation[0], "content": both}, *conversation[1:]]
    return [{"role": role, "content": told}, *conversation]


def without_tool_roles(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a conversation whose calls are an assistant's words, and whose results are a user's."""
    conversation: list[dict[str, Any]] = []
    for message in messages:
        if message.get("role") == "tool":
            told = f"{message.get('name') or 'The function'} returned: {message.get('content') or ''}"
            if (
                conversation
                and conversation[-1].get("role") == "user"
                and conversation[-1].pop("_result", False)
            ):
                told = f"{conversation.pop()['content']}\n{told}"
            conversation.append({"role": "user", "content": told, "_result": True})
        elif calls := message.get("tool_calls"):
            conversation.append({"role": "assistant", "content": _calls_in_words(message, calls)})
        else:
            conversation.append(dict(message))
    for message in conversation:
        message.pop("_result", None)
    return conversation


def _calls_in_words(message: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> str:
    written = []
    for call in calls:
        function = call.get("function", call)
        arguments = function.get("arguments") or {}
        if isinstance(arguments, str):
            with contextlib.suppress(ValueError, RecursionError):  # damaged, it is told as it is
                arguments = json.loads(arguments)
        written.append({"name": function.get("name"), "arguments": arguments})
    text = json.dumps(written[0] if len(written) == 1 else written, ensure_ascii=False)
    return f"{message['content']}\n{text}" if message.get("content") else text
