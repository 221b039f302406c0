"""What a generation found as Anthropic's message."""

from __future__ import annotations

import uuid
from typing import Any

from genai.config import CutCall, ToolCall
from genai.engine import GenerationResult
from genai.wire.anthropic.cut_input import cut_input
from genai.wire.exchange import AnswerFacts

__all__ = ["empty_message", "message_body", "stop_of", "text_block", "thinking_block", "tool_block", "usage"]


def message_body(result: GenerationResult, facts: AnswerFacts) -> dict[str, Any]:
    """Return the body that answers a request."""
    content: list[dict[str, Any]] = []
    if result.reasoning:
        content.append(thinking_block(result.reasoning))
    if result.text:
        content.append(text_block(result.text))
    content += map(tool_block, result.tool_calls)
    if result.cut_call is not None:
        content.append(tool_block(result.cut_call))
    return {**empty_message(facts), "content": content, **stop_of(result), "usage": usage(result)}


def empty_message(facts: AnswerFacts) -> dict[str, Any]:
    """Return an answer before it has begun."""
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": facts.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": facts.num_prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }


def stop_of(result: GenerationResult) -> dict[str, Any]:
    """Return why an answer has ended."""
    if result.finish_reason == "length":
        reason = "max_tokens"
    elif result.stop_text is not None:
        reason = "stop_sequence"
    else:
        reason = "tool_use" if result.tool_calls else "end_turn"
    return {"stop_reason": reason, "stop_sequence": result.stop_text}


def usage(result: GenerationResult) -> dict[str, int]:
    """Return what a generation took; tokens that the cache had are counted apart from the others."""
    stats = result.stats
    return {
        "input_tokens": stats.prompt_tokens - stats.cached_prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": stats.cached_prompt_tokens,
        "output_tokens": stats.generated_tokens,
    }


def text_block(text: str) -> dict[str, Any]:
    """Return a block of text."""
    return {"type": "text", "text": text}


def thinking_block(text: str) -> dict[str, Any]:
    """Return a block of reasoning, which nothing is there to sign."""
    return {"type": "thinking", "thinking": text, "signature": ""}


def tool_block(call: ToolCall | CutCall) -> dict[str, Any]:
    """Return a call as a block; of one that was cut off, what of its input is whole."""
    given = cut_input(call.arguments_json) if isinstance(call, CutCall) else dict(call.arguments)
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": given}
