"""A conversation that goes on by itself: the model calls functions, gets what they return, and answers.

Knows how to call and what to tell the model; who generates is the caller's business.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from genai.config import Message, ToolCall
from genai.engine import GenerationResult
from genai.errors import OptionError
from genai.request_builder import ChatOptions, Messages, Tools

if TYPE_CHECKING:
    from genai.tools import Tool

__all__ = ["ToolRounds"]


class ToolRounds:
    """The rounds of one conversation: a single one, unless functions are called.

    Args:
        messages: The conversation so far.
        options: What goes with it; its tools must have their Python functions, where they are to be called.
        auto_call: Whether functions are called.
        max_rounds: Most answers whose calls are carried out.

    Raises:
        OptionError: There is nothing that could be called, or the number is impossible.
    """

    def __init__(self, messages: Messages, options: ChatOptions, *, auto_call: bool, max_rounds: int) -> None:
        if not isinstance(auto_call, bool):
            raise OptionError(f"auto_call must be True or False, not {auto_call!r}")
        if not isinstance(max_rounds, int) or isinstance(max_rounds, bool) or max_rounds < 1:
            raise OptionError(f"max_rounds must be an integer >= 1, not {max_rounds!r}")
        self._tools = _callable_tools(options.get("tools")) if auto_call else {}
        self._rounds_left = max_rounds if auto_call else 0
        self._auto_call = auto_call
        self._begun = messages
        self._added: list[Message] = []
        self.options = options

    @property
    def messages(self) -> Messages:
        """The conversation as it is now."""
        return [*self._begun, *self._added] if self._added else self._begun

    def take(self, result: GenerationResult) -> bool:
        """Take an answer, carry out its calls, and return whether the model is to answer again."""
        if not self._auto_call:
            return False
        if result.choices:
            raise OptionError("auto_call goes on from one answer: leave num_return_sequences out")
        self._added.append(result.message)
        if not result.tool_calls or not self._rounds_left:
            return False
        self._rounds_left -= 1
        self.options["tool_choice"] = "auto"  # it has called; to have to again would never end
        for call in result.tool_calls:
            content = _call(self._tools[call.name], call)
            self._added.append(Message("tool", content, name=call.name, tool_call_id=call.id))
        return True

    async def take_in_thread(self, result: GenerationResult) -> bool:
        """Do as `take` in a thread, since functions may block."""
        import asyncio  # 6 MB that only asynchronous callers need, and have

        return await asyncio.to_thread(self.take, result)

    def finish(self, result: GenerationResult) -> GenerationResult:
        """Return the last answer with all that was added to the conversation."""
        return dataclasses.replace(result, messages=tuple(self._added))


def _callable_tools(tools: Tools | None) -> dict[str, Tool]:
    if not tools:
        raise OptionError("auto_call needs tools: pass the functions that the model may call")
    from genai.tools import as_tools

    made = {tool.name: tool for tool in as_tools(tools)}
    for name, tool in made.items():
        if tool.function is None:
            raise OptionError(
                f'auto_call needs functions, and the tool "{name}" is only a schema: pass the function itself'
            )
    return made


def _call(tool: Tool, call: ToolCall) -> str:
    """Return what the model is told of a call: a text as it is, anything else as JSON, an error in its words."""
    try:
        value: Any = tool.call(call.arguments)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_as_json)
    except Exception as error:  # noqa: BLE001 - the model is to hear of whatever it is, and to try otherwise
        return f"error: {type(error).__name__}: {error}"


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return str(value)
