"""Ollama's messages, whose calls have no ids, as chat templates know messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.wire.fields import BodyError
from genai.wire.messages import read_messages

__all__ = ["plain_conversation"]


def plain_conversation(messages: Any) -> list[dict[str, Any]]:
    """Return messages with ids for their calls, and results that name the calls that they answer.

    Raises:
        BodyError: They are no messages, or hold images, or a role is unknown.
    """
    if not isinstance(messages, list):
        raise BodyError("messages must be a list of messages", "messages")
    for index, message in enumerate(messages):
        if isinstance(message, Mapping) and message.get("images"):
            raise BodyError(f"messages[{index}]: images are not read here: texts are", "messages")
    given = [
        {name: value for name, value in message.items() if value is not None and name != "images"}
        if isinstance(message, Mapping)
        else message
        for message in messages
    ]
    return _with_ids(read_messages(given))


def _with_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each call an id, and each result that of the first call of its name, or of any, that has none yet."""
    told: list[dict[str, Any]] = []
    waiting: dict[str, str] = {}  # the functions called, by the calls' ids
    num_calls = 0
    for index, message in enumerate(messages):
        if message.get("tool_calls"):
            calls = []
            for call in message["tool_calls"]:
                function = call.get("function") if isinstance(call, Mapping) else None
                if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
                    raise BodyError(
                        f"messages[{index}]: a call needs a function with a name and arguments", "messages"
                    )
                call_id = str(call.get("id") or f"call{num_calls:05}")  # as long as Mistral's templates want
                num_calls += 1
                waiting[call_id] = function["name"]
                known = {name: function[name] for name in ("name", "arguments") if name in function}
                calls.append({"id": call_id, "type": "function", "function": {"arguments": {}, **known}})
            told.append({**message, "tool_calls": calls})
        elif message["role"] == "tool":
            told.append(_result(message, waiting))
        else:
            told.append(message)
    return told


def _result(message: Mapping[str, Any], waiting: dict[str, str]) -> dict[str, Any]:
    name = message.get("tool_name") or message.get("name")
    call_id = message.get("tool_call_id")
    if call_id is None:
        call_id = next((each for each, called in waiting.items() if name in (None, called)), None)
    called = waiting.pop(call_id, None) if isinstance(call_id, str) else None
    values = {**message, "name": name or called, "tool_call_id": call_id}
    return {key: value for key, value in values.items() if value is not None and key != "tool_name"}
