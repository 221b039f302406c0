"""A message of a conversation, as a frozen value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from genai.config.tool_call import ToolCall
from genai.errors import OptionError, did_you_mean

__all__ = ["Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, as chat templates see it.

    Args:
        role: "system", "user", "assistant" or "tool"; a template may know more.
        content: The text, or a list of parts `{"type": "text", "text": ...}`; `None` where an assistant only calls.
        name: The name of the speaker or tool.
        tool_calls: The calls that an assistant made, as a result has them or in OpenAI's form.
        tool_call_id: The call that a tool message answers.
        reasoning_content: The reasoning before the answer, for templates that show it.
    """

    role: str
    content: str | Sequence[Mapping[str, Any]] | None = None
    name: str | None = None
    tool_calls: Sequence[ToolCall | Mapping[str, Any]] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the message as the dictionary that a chat template iterates over.

        >>> Message("user", "Hello").to_dict()
        {'role': 'user', 'content': 'Hello'}
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.tool_calls is not None:
            values["tool_calls"] = [
                call.to_dict() if isinstance(call, ToolCall) else call for call in self.tool_calls
            ]
        return {k: v for k, v in values.items() if v is not None or k == "content"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a message from a dictionary.

        Raises:
            OptionError: The role is missing or a key is unknown.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise OptionError(f'unknown message key "{name}".{did_you_mean(name, known)}')
        if "role" not in values:
            raise OptionError('a message needs a "role" (such as "user") and a "content"')
        return cls(**{"content": None, **values})
