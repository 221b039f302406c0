"""A call of a function that a model asked for, as a frozen value, and what says whether it must ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["CutCall", "ToolCall", "ToolChoiceLike"]

ToolChoiceLike: TypeAlias = str | Mapping[str, Any]
"""Whether a model must call: "none", "auto", "required", a function's name, or OpenAI's object with a name."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that a model wants called.

    Args:
        id: Ties the call to its result (`Message.tool_call_id`).
        name: The function.
        arguments: Its arguments by name.
        arguments_json: The same as the JSON text that the model wrote, or that its format stands for.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    arguments_json: str

    def to_dict(self) -> dict[str, Any]:
        """Return the call as chat templates read it: OpenAI's form, with the arguments as an object.

        >>> ToolCall("call_1", "add", {"a": 1}, '{"a": 1}').to_dict()
        {'id': 'call_1', 'type': 'function', 'function': {'name': 'add', 'arguments': {'a': 1}}}
        """
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": dict(self.arguments)},
        }


@dataclass(frozen=True, slots=True)
class CutCall:
    """A call in which an answer ended, because it had no room for more of it: nothing that could be carried out.

    Args:
        id: Its id.
        name: The function.
        arguments_json: What came of the arguments; mostly the beginning of a JSON text.
    """

    id: str
    name: str
    arguments_json: str
