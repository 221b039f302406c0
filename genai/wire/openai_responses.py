"""What generations found as OpenAI's response bodies: chat completions, text completions, errors."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from genai.config import ToolCall
from genai.engine import Choice, FinishReason, GenerationResult
from genai.errors import (
    ChatTemplateError,
    GenaiError,
    ModelNotFoundError,
    OptionError,
    PromptTooLongError,
)
from genai.text import Tokenizer
from genai.wire.openai_logprobs import chat_logprobs, prompt_logprobs, text_logprobs
from genai.wire.openai_requests import CHAT, CompletionRequest

__all__ = [
    "completion_body",
    "error_body",
    "finish_reason",
    "is_callers_fault",
    "model_body",
    "new_id",
    "usage",
]

_CODES: Mapping[type[GenaiError], str] = {
    ModelNotFoundError: "model_not_found",
    PromptTooLongError: "context_length_exceeded",
}


def completion_body(
    request: CompletionRequest,
    results: Sequence[GenerationResult],
    *,
    model: str,
    created: int,
    tokenizer: Callable[[], Tokenizer],
) -> dict[str, Any]:
    """Return the body that answers a request.

    Args:
        request: The request.
        results: How each of its prompts was continued.
        model: What the model is called.
        created: When it was asked for, in seconds since 1970.
        tokenizer: Returns the model's; called where log-probabilities were asked for.

    Raises:
        TokenizerError: There is none, and log-probabilities were asked for.
    """
    is_chat = request.endpoint == CHAT
    has_prompt = not is_chat and bool(request.options.get("echo") and request.options.get("logprobs"))
    choices: list[dict[str, Any]] = []
    for result in results:
        for choice in _choices_of(result):
            shape = _chat_choice if is_chat else _text_choice
            logprobs = _logprobs(request, result, choice, tokenizer)
            choices.append({**shape(len(choices), choice), "logprobs": logprobs})
            if not is_chat and not has_prompt:  # else they are among the logprobs
                choices[-1] |= _prompt_logprobs(result, tokenizer)
    return {
        "id": new_id(request.endpoint),
        "object": "chat.completion" if is_chat else "text_completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": usage(results),
        **(_prompt_logprobs(results[0], tokenizer) if is_chat else {}),
    }


def new_id(endpoint: str) -> str:
    """Return an id for a response."""
    return f"{'chatcmpl' if endpoint == CHAT else 'cmpl'}-{uuid.uuid4().hex}"


def model_body(name: str, *, created: int) -> dict[str, Any]:
    """Return what is told of a model."""
    return {"id": name, "object": "model", "created": created, "owned_by": "genai"}


def error_body(error: GenaiError, *, code: str | None = None) -> dict[str, Any]:
    """Return the body that reports an error.

    Args:
        error: The error.
        code: OpenAI's word for it, where the error's kind does not say it.
    """
    return {
        "error": {
            "message": str(error),
            "type": "invalid_request_error" if is_callers_fault(error) else "server_error",
            "param": error.option if isinstance(error, OptionError) else None,
            "code": code or _CODES.get(type(error)),
        }
    }


def is_callers_fault(error: GenaiError) -> bool:
    """Whether another request would have been answered: an option is impossible, or there is no such model."""
    return isinstance(error, (OptionError, ChatTemplateError, ModelNotFoundError))


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


def _chat_choice(index: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.reasoning:
        message["reasoning"] = choice.reasoning
    if choice.tool_calls:
        message |= {"content": choice.text or None, "tool_calls": list(map(_tool_call, choice.tool_calls))}
    return {
        "index": index,
        "message": message,
        "finish_reason": finish_reason(choice.finish_reason, has_called=bool(choice.tool_calls)),
    }


def finish_reason(reason: FinishReason, *, has_called: bool) -> str:
    """Return why an answer has ended: for its calls, if it has called and then ended by itself."""
    return "tool_calls" if has_called and reason == "stop" else reason


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json},
    }


def _text_choice(index: int, choice: Choice) -> dict[str, Any]:
    return {"index": index, "text": choice.text, "finish_reason": choice.finish_reason}


def _logprobs(
    request: CompletionRequest, result: GenerationResult, choice: Choice, tokenizer: Callable[[], Tokenizer]
) -> dict[str, Any] | None:
    if choice.logprobs is None:
        return None
    if request.endpoint == CHAT:
        return chat_logprobs(choice.logprobs, tokenizer())
    return text_logprobs(choice.logprobs, tokenizer(), prompt=result if request.options.get("echo") else None)


def _prompt_logprobs(result: GenerationResult, tokenizer: Callable[[], Tokenizer]) -> dict[str, Any]:
    """Return the field that vLLM has for it, where it was asked for."""
    if result.prompt_logprobs is None:
        return {}
    return {"prompt_logprobs": prompt_logprobs(result.prompt_logprobs, tokenizer())}


def usage(results: Sequence[GenerationResult]) -> dict[str, Any]:
    """Return what generations took."""
    prompt = sum(result.stats.prompt_tokens for result in results)
    generated = sum(result.stats.generated_tokens for result in results)
    cached = sum(result.stats.cached_prompt_tokens for result in results)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
