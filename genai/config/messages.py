"""Conversations as callers pass them become plain messages, or an error that names what is wrong with which.

A chat template takes any role and any key, so that a slip would go into the prompt, or be left out of it, without a word.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genai.config.message import Message
from genai.config.tool_call import ToolCall
from genai.errors import OptionError

__all__ = ["plain_messages"]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
SPEAKERS = ("system", "developer", "user")
"""Who says something in every message."""
KEYS = (
    *(field.name for field in dataclasses.fields(Message)),
    *("thinking", "reasoning", "tools", "tool_name"),  # that templates know
    *("function_call", "refusal", "annotations", "audio"),  # that OpenAI's messages have
)
LIKENESS = 0.75
"""From which on a role or key that is none of these is one of them misspelt; what is further off a template may know."""


def plain_messages(messages: Any) -> list[dict[str, Any]]:
    """Return messages with a role and a text each, and calls in OpenAI's form; what else they hold stays.

    >>> plain_messages([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}])
    [{'role': 'user', 'content': 'Hello'}]

    Raises:
        OptionError: They are no list of messages; or a role is missing, a role or key misspelt, or a content no text.
    """
    if isinstance(messages, (str, Message, Mapping)) or not isinstance(messages, Iterable):
        raise _error('messages must be a list of messages, such as [Message("user", "Hello")]')
    return [_plain(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _plain(message: Any, where: str) -> dict[str, Any]:
    if isinstance(message, Message):
        fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(Message)}
        values = {name: value for name, value in fields.items() if value is not None}
    elif isinstance(message, Mapping):
        values = dict(message)
    else:
        raise _error(f"{where} must be a Message or a mapping with a role and content, not {message!r:.200}")
    role = values.get("role")
    if not isinstance(role, str):
        raise _error(f'{where} needs a "role" (such as "user") and a "content"')
    _refuse_misspelt(role, ROLES, f"{where}: unknown role")
    for name in values:
        _refuse_misspelt(str(name), KEYS, f"{where}: unknown key")
    values["content"] = _text(values.get("content"), role, where)
    if values.get("tool_calls") is not None:
        values["tool_calls"] = _calls(values["tool_calls"], where)
    return values


def _error(message: str) -> OptionError:
    return OptionError(message, option="messages")


def _refuse_misspelt(name: str, known: Sequence[str], what: str) -> None:
    if name in known:
        return
    for nearest in difflib.get_close_matches(name.lower(), known, n=1, cutoff=LIKENESS):
        raise _error(f'{what} "{name}". Did you mean "{nearest}"?')


def _text(content: Any, role: str, where: str) -> str:
    """Return a content as one text, which every template takes; who need not say anything may have none."""
    if content is None and role not in SPEAKERS:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)) and all(
        isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        return "".join(part["text"] for part in content)
    raise _error(f"{where}: content must be a text, or parts of the type text, not {content!r:.200}")


def _calls(calls: Any, where: str) -> list[Any]:
    if not isinstance(calls, Sequence) or not all(isinstance(call, (ToolCall, Mapping)) for call in calls):
        raise _error(f"{where}: tool_calls must be a list of calls, not {calls!r:.200}")
    return [call.to_dict() if isinstance(call, ToolCall) else call for call in calls]
