"""What generations found as OpenAI's response bodies: chat completions and text completions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from genai.config import CutCall, ToolCall
from genai.engine import Choice, FinishReason, GenerationResult
from genai.wire.exchange import AnswerFacts, CompletionRequest
from genai.wire.openai.logprobs import chat_logprobs, prompt_logprobs, text_logprobs

__all__ = [
    "choices_of",
    "completion_body",
    "finish_reason",
    "model_body",
    "new_id",
    "tool_call",
    "usage",
]


def completion_body(
    request: CompletionRequest, results: Sequence[GenerationResult], facts: AnswerFacts, *, is_chat: bool
) -> dict[str, Any]:
    """Return the body that answers a request; `Exchange.answer` says what of.

    Raises:
        TokenizerError: There is no tokenizer, and log-probabilities were asked for.
    """
    echoes = bool(request.options.get("echo"))
    has_prompt = not is_chat and echoes and bool(request.options.get("logprobs"))
    choices: list[dict[str, Any]] = []
    for result in results:
        for choice in choices_of(result):
            index = len(choices)
            if is_chat:
                choices.append(_chat_choice(index, choice, facts))
            else:
                choices.append(_text_choice(index, choice, facts, prompt=result if echoes else None))
                if not has_prompt:  # else they are among the logprobs
                    choices[-1] |= _prompt_logprobs(result, facts)
    return {
        "id": new_id(is_chat=is_chat),
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(facts.created),
        "model": facts.model,
        "choices": choices,
        "usage": usage(results),
        **(_prompt_logprobs(results[0], facts) if is_chat else {}),
    }


def new_id(*, is_chat: bool) -> str:
    """Return an id for a response."""
    return f"{'chatcmpl' if is_chat else 'cmpl'}-{uuid.uuid4().hex}"


def model_body(name: str, *, created: int) -> dict[str, Any]:
    """Return what is told of a model."""
    return {"id": name, "object": "model", "created": created, "owned_by": "genai"}


def choices_of(result: GenerationResult) -> Iterator[Choice]:
    """Yield the answers to one prompt."""
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
            cut_call=result.cut_call,
        )


def _chat_choice(index: int, choice: Choice, facts: AnswerFacts) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.reasoning:
        message["reasoning"] = choice.reasoning
    if choice.all_calls:
        message |= {"content": choice.text or None, "tool_calls": list(map(tool_call, choice.all_calls))}
    return {
        "index": index,
        "message": message,
        "finish_reason": finish_reason(choice.finish_reason, has_called=bool(choice.tool_calls)),
        "logprobs": None if choice.logprobs is None else chat_logprobs(choice.logprobs, facts.tokenizer()),
    }


def finish_reason(reason: FinishReason, *, has_called: bool) -> str:
    """Return why an answer has ended: for its calls, if it has called and then ended by itself."""
    return "tool_calls" if has_called and reason == "stop" else reason


def tool_call(call: ToolCall | CutCall) -> dict[str, Any]:
    """Return a call as a message has it."""
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json},
    }


def _text_choice(
    index: int, choice: Choice, facts: AnswerFacts, *, prompt: GenerationResult | None
) -> dict[str, Any]:
    logprobs = None
    if choice.logprobs is not None:
        logprobs = text_logprobs(choice.logprobs, facts.tokenizer(), prompt=prompt)
    return {
        "index": index,
        "text": choice.text,
        "finish_reason": choice.finish_reason,
        "logprobs": logprobs,
    }


def _prompt_logprobs(result: GenerationResult, facts: AnswerFacts) -> dict[str, Any]:
    """Return the field that vLLM has for it, where it was asked for."""
    if result.prompt_logprobs is None:
        return {}
    return {"prompt_logprobs": prompt_logprobs(result.prompt_logprobs, facts.tokenizer())}


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
