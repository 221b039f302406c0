"""How much a model is to think, and whether that is told, in the fields that OpenAI, OpenRouter and vLLM have for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genai.errors import did_you_mean
from genai.wire.fields import BodyError, refuse_rest, take
from genai.wire.thinking import Thinking

__all__ = ["EFFORTS", "ChatReasoning", "read_chat_reasoning", "thinking_of"]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class ChatReasoning:
    """What a chat completion says of reasoning.

    Args:
        thinking: How much the model is to think; `None` leaves that to it.
        is_told: Whether the answer has what it thought.
    """

    thinking: Thinking | None = None
    is_told: bool = True


def read_chat_reasoning(fields: dict[str, Any]) -> ChatReasoning:
    """Take `reasoning_effort`, vLLM's `include_reasoning` and OpenRouter's `reasoning` out of a body's fields.

    Raises:
        BodyError: One is not what it should be, or two say the same.
    """
    effort = take(fields, "reasoning_effort", str, None)
    is_told = take(fields, "include_reasoning", bool, True)
    reasoning = take(fields, "reasoning", dict, None)
    if reasoning is None:
        return ChatReasoning(None if effort is None else thinking_of(effort, "reasoning_effort"), is_told)
    if effort is not None:
        raise BodyError("reasoning and reasoning_effort say the same: leave one of them out", "reasoning")
    rest = {name: value for name, value in reasoning.items() if value is not None}
    is_told = is_told and not take(rest, "exclude", bool, False)
    is_on, effort = take(rest, "enabled", bool, None), take(rest, "effort", str, None)
    most = take(rest, "max_tokens", int, None)
    refuse_rest(rest, known=("effort", "enabled", "exclude", "max_tokens"))
    if effort is not None and is_on is not None and is_on != (effort != "none"):
        raise BodyError("reasoning: enabled and effort contradict each other", "reasoning")
    if effort is not None:
        return ChatReasoning(thinking_of(effort, "reasoning", max_tokens=most), is_told)
    if is_on is None and most is None:
        return ChatReasoning(None, is_told)
    return ChatReasoning(Thinking(is_on is not False, "reasoning", most), is_told)


def thinking_of(effort: str, field: str, *, max_tokens: int | None = None) -> Thinking:
    """Return what an effort asks for.

    Raises:
        BodyError: There is no such effort.
    """
    if effort not in EFFORTS:
        raise BodyError(
            f'{field}: the effort must be one of {", ".join(EFFORTS)}, not "{effort:.100}".{did_you_mean(effort, EFFORTS)}',
            field,
        )
    return Thinking(False if effort == "none" else effort, field, max_tokens)
