"""What generations found as OpenAI's response bodies: chat completions, text completions, errors."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from genai.config import ToolCall
from genai.engine import Choice, GenerationResult, TokenLogprob
from genai.errors import ChatTemplateError, GenaiError, OptionError
from genai.wire.openai_requests import CHAT, BodyError, CompletionRequest

__all__ = ["completion_body", "error_body", "is_callers_fault"]

_UNREPRESENTABLE = "\N{REPLACEMENT CHARACTER}"

Decode = Callable[[Sequence[int]], str]
"""Returns the text of tokens, special ones included."""


def completion_body(
    request: CompletionRequest,
    results: Sequence[GenerationResult],
    *,
    model: str,
    created: int,
    decode: Decode,
) -> dict[str, Any]:
    """Return the body that answers a request.

    Args:
        request: The request.
        results: How each of its prompts was continued.
        model: What the model is called.
        created: When it was asked for, in seconds since 1970.
        decode: Returns the text of tokens, special ones included.
    """
    is_chat = request.endpoint == CHAT
    shape = _chat_choice if is_chat else _text_choice
    choices = [choice for result in results for choice in _choices_of(result)]
    return {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": created,
        "model": model,
        "choices": [shape(index, choice, decode) for index, choice in enumerate(choices)],
        "usage": _usage(results),
    }


def error_body(error: GenaiError) -> dict[str, Any]:
    """Return the body that reports an error."""
    return {
        "error": {
            "message": str(error),
            "type": "invalid_request_error" if is_callers_fault(error) else "server_error",
            "param": error.field if isinstance(error, BodyError) else None,
            "code": None,
        }
    }


def is_callers_fault(error: GenaiError) -> bool:
    """Whether another request would have been answered: an option is impossible, or the template refuses the conversation."""
    return isinstance(error, (OptionError, ChatTemplateError))


def _choices_of(result: GenerationResult) -> Iterator[Choice]:
    if result.choices:
        yield from result.choices
    else:
        yield Choice(
            result.text,
            result.token_ids,
            result.finish_reason,
            result.logprobs,
            reasoning=result.reasoning,
            tool_calls=result.tool_calls,
        )


def _chat_choice(index: int, choice: Choice, decode: Decode) -> dict[str, Any]:
    logprobs = None
    if choice.logprobs is not None:
        logprobs = {"content": [_chat_logprob(entry, decode) for entry in choice.logprobs]}
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.reasoning:
        message["reasoning"] = choice.reasoning
    if choice.tool_calls:
        message |= {"content": choice.text or None, "tool_calls": list(map(_tool_call, choice.tool_calls))}
    has_called = choice.tool_calls and choice.finish_reason == "stop"
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": "tool_calls" if has_called else choice.finish_reason,
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json},
    }


def _chat_logprob(entry: TokenLogprob, decode: Decode) -> dict[str, Any]:
    def token(token_id: int, logprob: float) -> dict[str, Any]:
        text = decode([token_id])
        exact = None if _UNREPRESENTABLE in text else list(text.encode())
        return {"token": text, "logprob": logprob, "bytes": exact}

    top = [token(token_id, logprob) for token_id, logprob in entry.top_logprobs]
    return {**token(entry.token_id, entry.logprob), "top_logprobs": top}


def _text_choice(index: int, choice: Choice, decode: Decode) -> dict[str, Any]:
    logprobs = None if choice.logprobs is None else _text_logprobs(choice.logprobs, decode)
    return {
        "index": index,
        "text": choice.text,
        "logprobs": logprobs,
        "finish_reason": choice.finish_reason,
    }


def _text_logprobs(entries: Sequence[TokenLogprob], decode: Decode) -> dict[str, Any]:
    tokens = [decode([entry.token_id]) for entry in entries]
    ends = list(itertools.accumulate(map(len, tokens), initial=0))
    return {
        "tokens": tokens,
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [
            {decode([token_id]): logprob for token_id, logprob in entry.top_logprobs} for entry in entries
        ],
        "text_offset": ends[:-1],
    }


def _usage(results: Sequence[GenerationResult]) -> dict[str, Any]:
    prompt = sum(result.stats.prompt_tokens for result in results)
    generated = sum(result.stats.generated_tokens for result in results)
    cached = sum(result.stats.cached_prompt_tokens for result in results)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
