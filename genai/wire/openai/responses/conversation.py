"""A response's input as a conversation: items become messages, and what an assistant gave in several items becomes one.

What is wrong is named by its place (`input[2].content`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from genai.wire.fields import BodyError, json_type
from genai.wire.openai.responses.items import decode_reasoning

__all__ = ["read_input"]

_ROLES = ("user", "assistant", "system", "developer")
_TEXT_PARTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")
_NOT_LOOKED_AT = frozenset({"type", "id", "status", "phase"})
"""Keys that an item has of the response that it comes from."""


def read_input(value: Any, *, instructions: str | None) -> list[dict[str, Any]]:
    """Return the messages of an input.

    Args:
        value: A text, which the user says, or a list of items.
        instructions: What stands before all.

    Raises:
        BodyError: It is neither, or an item is unknown or not what it should be.
    """
    conversation = _Conversation()
    if instructions is not None:
        conversation.say("system", instructions)
    if isinstance(value, str):
        conversation.say("user", value)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            conversation.take(item, f"input[{index}]")
    else:
        raise BodyError("input must be a text, or a list of items that is not empty", "input")
    return conversation.messages


class _Conversation:
    """Gathers messages; what an assistant thinks, says and calls in a row is one."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None  # the assistant's message that may get more
        self._name_of: dict[str, str] = {}  # functions, by the ids of their calls

    def say(self, role: str, content: str) -> None:
        """Add a message of somebody else than the assistant."""
        self._turn = None
        self.messages.append({"role": role, "content": content})

    def take(self, item: Any, where: str) -> None:
        """Add an item."""
        if not isinstance(item, Mapping):
            raise BodyError(f"{where} must be an object, not {json_type(item)}", where)
        kind = item.get("type", "message")
        takers: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
            "message": self._take_message,
            "reasoning": self._take_reasoning,
            "function_call": self._take_call,
            "function_call_output": self._take_output,
        }
        if kind == "item_reference":
            raise BodyError(
                f"{where}: nothing is stored here to be referred to: send the item", f"{where}.type"
            )
        if not isinstance(kind, str) or kind not in takers:
            raise BodyError(
                f"{where}: there are no items of the type {kind!r:.100} here; there are: {', '.join(takers)}",
                f"{where}.type",
            )
        takers[kind](item, where)

    def _take_message(self, item: Mapping[str, Any], where: str) -> None:
        _check_keys(item, where, "role", "content")
        role = item.get("role")
        if role not in _ROLES:
            raise BodyError(
                f"{where}: role must be one of {', '.join(_ROLES)}, not {role!r:.100}", f"{where}.role"
            )
        content = _text(item.get("content"), f"{where}.content")
        if role != "assistant":
            self.say(role, content)
        elif self._turn is not None and "content" not in self._turn:
            self._turn["content"] = content
        else:
            self._begin_turn()["content"] = content

    def _take_reasoning(self, item: Mapping[str, Any], where: str) -> None:
        _check_keys(item, where, "summary", "content", "encrypted_content")
        thought = _text(item.get("content") or [], f"{where}.content")
        if not thought and (packed := item.get("encrypted_content")) is not None:
            try:
                thought = decode_reasoning(packed)
            except (ValueError, TypeError):
                raise BodyError(
                    f"{where}: encrypted_content is none of this server's: send the reasoning as content, or leave it out",
                    f"{where}.encrypted_content",
                ) from None
        thought = thought or _text(item.get("summary") or [], f"{where}.summary")
        if thought:
            turn = (
                self._turn if self._turn is not None and self._turn.keys() == {"role"} else self._begin_turn()
            )
            turn["reasoning_content"] = thought

    def _take_call(self, item: Mapping[str, Any], where: str) -> None:
        _check_keys(item, where, "call_id", "name", "arguments")
        call_id, name, arguments = (_word(item, key, where) for key in ("call_id", "name", "arguments"))
        self._name_of[call_id] = name
        turn = self._turn or self._begin_turn()
        function = {"name": name, "arguments": arguments}
        turn.setdefault("tool_calls", []).append({"id": call_id, "type": "function", "function": function})

    def _take_output(self, item: Mapping[str, Any], where: str) -> None:
        _check_keys(item, where, "call_id", "output")
        call_id = _word(item, "call_id", where)
        if call_id not in self._name_of:
            raise BodyError(
                f'{where}: no function_call before it has the call_id "{call_id:.100}"', f"{where}.call_id"
            )
        self._turn = None
        content = _text(item.get("output"), f"{where}.output")
        self.messages.append(
            {"role": "tool", "content": content, "tool_call_id": call_id, "name": self._name_of[call_id]}
        )

    def _begin_turn(self) -> dict[str, Any]:
        self._turn = {"role": "assistant"}
        self.messages.append(self._turn)
        return self._turn


def _check_keys(item: Mapping[str, Any], where: str, *known: str) -> None:
    for key, value in item.items():
        if value is not None and key not in known and key not in _NOT_LOOKED_AT:
            raise BodyError(f'{where} has an unknown key "{key}"', f"{where}.{key}")


def _word(item: Mapping[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise BodyError(f"{where}: {key} must be a text, not {json_type(value)}", f"{where}.{key}")
    return value


def _text(content: Any, where: str) -> str:
    """Return a text, or parts that are texts, as one."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BodyError(f"{where} must be a text or a list of parts, not {json_type(content)}", where)
    return "".join(_parts(content, where))


def _parts(content: list[Any], where: str) -> Iterator[str]:
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "refusal":
            text = part.get("refusal")
        elif kind in _TEXT_PARTS:
            text = part.get("text")
        else:
            raise BodyError(
                f"{where}[{index}] must be a part with a text ({', '.join(_TEXT_PARTS[:2])}), not {part!r:.100}",
                f"{where}[{index}]",
            )
        if not isinstance(text, str):
            raise BodyError(f"{where}[{index}] must have a text", f"{where}[{index}]")
        yield text
