"""A conversation that goes on by itself: the model calls functions, gets what they return, and answers.

Knows how to call, what to tell the model and when it is enough; who generates is the caller's business.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from genai.config import Message, ToolCall
from genai.config.checks import Flag, Integer
from genai.engine import GenerationResult, Request
from genai.engine.results import FinishReason
from genai.errors import OptionError
from genai.request_builder import ChatOptions, Messages, Tools

if TYPE_CHECKING:
    from genai.tools import Tool

__all__ = ["ToolRounds"]

MAX_ROUNDS = 8
"""Answers whose calls are carried out, unless a caller says another number."""


class ToolRounds:
    """The rounds of one conversation: a single one, unless functions are called.

    Args:
        build: Makes a request of `messages` and options by name, as `Generator.build_request`.
        messages: The conversation so far.
        options: What goes with it; its tools must have their Python functions, where they are to be called. `max_time`
            counts for all rounds together.
        auto_call: Whether functions are called.
        max_rounds: Most answers whose calls are carried out; None is `MAX_ROUNDS`.
        is_closed: Tells whether the model was closed, so that there is no next round.

    Raises:
        OptionError: There is nothing that could be called, or an option does not go with calls.
    """

    def __init__(
        self,
        build: Callable[..., Request],
        messages: Messages,
        options: ChatOptions,
        *,
        auto_call: bool,
        max_rounds: int | None,
        is_closed: Callable[[], bool],
    ) -> None:
        self._auto_call = Flag()("auto_call", auto_call)
        rounds = Integer(1, or_none=True)("max_rounds", max_rounds)
        if not auto_call and rounds is not None:
            raise OptionError("max_rounds is for auto_call=True: pass that, too, or leave it out")
        if auto_call and options.get("continue_final_message"):
            raise OptionError(
                "auto_call cannot be combined with continue_final_message: a message that is only begun cannot be followed "
                "by what functions return; leave one of them out"
            )
        self._tools = _callable_tools(options.get("tools")) if auto_call else {}
        self._rounds_left = MAX_ROUNDS if rounds is None else rounds
        self._build = build
        self._begun = messages
        self._options = options
        self._is_closed = is_closed
        self._added: list[Message] = []
        self._taken: GenerationResult | None = None  # the last answer whose calls were begun
        self._deadline: float | None = None
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether nobody wants another round."""
        return self._is_stopped or self._is_closed()

    def stop(self) -> None:
        """Begin no other call and no other round; safe in a signal handler."""
        self._is_stopped = True

    def first(self) -> Request:
        """Return the request for the first answer."""
        request = self._build(messages=self._begun, **self._options)
        if self._auto_call and request.config.num_return_sequences > 1:
            raise OptionError("auto_call goes on from one answer: leave num_return_sequences out")
        if request.config.max_time is not None:
            self._deadline = time.perf_counter() + request.config.max_time
        return request

    def after(self, result: GenerationResult) -> Request | None:
        """Take an answer, carry out its calls, and return the request for the next; None where this is the last."""
        is_last = not self._auto_call or not result.tool_calls or not self._rounds_left
        if is_last or self._is_over or result is self._taken or result.finish_reason == "cancelled":
            return None
        self._rounds_left -= 1
        self._taken = result
        self._added.append(result.message)
        for call in result.tool_calls:
            content = _call(self._tools[call.name], call)
            self._added.append(Message("tool", content, name=call.name, tool_call_id=call.id))
            if self._is_over:
                return None
        self._options["tool_choice"] = "auto"  # it has called; to have to again would never end
        if self._deadline is not None:
            self._options["max_time"] = max(self._deadline - time.perf_counter(), 1e-3)
        return self._build(messages=[*self._begun, *self._added], **self._options)

    async def after_in_thread(self, result: GenerationResult) -> Request | None:
        """Do as `after` in a thread, since functions may block; whoever is cancelled meanwhile wants no other call."""
        import asyncio  # 6 MB that only asynchronous callers need, and have

        try:
            return await asyncio.to_thread(self.after, result)
        except asyncio.CancelledError:
            self.stop()
            raise

    def finish(self, result: GenerationResult) -> GenerationResult:
        """Return the last answer with all that was added to the conversation."""
        if not self._auto_call:
            return result
        if result is not self._taken:
            return dataclasses.replace(result, messages=(*self._added, result.message))
        is_late = self._is_overdue and not self.is_stopped
        reason: FinishReason = "length" if is_late else "cancelled"
        return dataclasses.replace(result, messages=tuple(self._added), finish_reason=reason)

    @property
    def _is_overdue(self) -> bool:
        return self._deadline is not None and time.perf_counter() >= self._deadline

    @property
    def _is_over(self) -> bool:
        return self.is_stopped or self._is_overdue


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
