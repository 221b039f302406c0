"""OpenAI's request bodies (https://platform.openai.com/docs/api-reference) as arguments of `Generator.build_request`.

Every field is carried out or refused by its name. Beside OpenAI's own there are the fields of `GenerationConfig`, as other
servers have them too (top_k, min_p, repetition_penalty, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.wire.exchange import CompletionRequest
from genai.wire.fields import BodyError, are_tokens, body_fields, drop_usual, take
from genai.wire.messages import read_messages
from genai.wire.openai.reasoning import ChatReasoning, read_chat_reasoning
from genai.wire.openai.shared_fields import RENAMED, read_stream_options
from genai.wire.openai.tool_choice import read_tool_choice
from genai.wire.options import plain_options

__all__ = ["USUAL_OF_CHATS", "USUAL_OF_TEXTS", "CompletionBody", "conversation", "read_completion"]

_USUAL: Mapping[str, tuple[Any, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
}
"""Fields that many clients send, with the values that ask for what happens here anyway."""
USUAL_OF_TEXTS: Mapping[str, tuple[Any, ...]] = {**_USUAL, "parallel_tool_calls": (True,)}
USUAL_OF_CHATS: Mapping[str, tuple[Any, ...]] = {**_USUAL, "verbosity": ("medium",)}
_HINTS: Mapping[str, str] = {
    "functions": " Functions are given as tools here.",
    "function_call": " Which function is called says tool_choice.",
}


@dataclass(frozen=True, slots=True)
class CompletionBody:
    """A body that was read.

    Args:
        request: What it asks for.
        includes_usage: Whether a stream's last chunk is to say what it took.
        tells_reasoning: Whether the answer has what the model thought.
        generates: Whether anything is to be generated, and not only the prompt scored.
    """

    request: CompletionRequest
    includes_usage: bool = False
    tells_reasoning: bool = True
    generates: bool = True


def read_completion(body: Any, *, is_chat: bool) -> CompletionBody:
    """Return what a body asks for; a field that is null is left out.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
            own checks find, when the request is built.
    """
    fields = body_fields(body)
    drop_usual(fields, USUAL_OF_CHATS if is_chat else USUAL_OF_TEXTS)
    model = take(fields, "model", str, None)
    stream = take(fields, "stream", bool, False)
    includes_usage = read_stream_options(fields, "include_usage", is_stream=stream)
    prompts = [conversation(fields)] if is_chat else _texts(fields)
    reasoning = read_chat_reasoning(fields) if is_chat else ChatReasoning()
    if "priority" in fields:
        priority = take(fields, "priority", int, 0)
        prompts = [{**prompt, "priority": priority} for prompt in prompts]
    names = {option: name for name, option in RENAMED.items() if name in fields}
    names["prompt_token_ids"] = "messages" if is_chat else "prompt"
    if not is_chat and "logprobs" in fields:
        names["top_logprobs"] = "logprobs"
    read_logprobs = _chat_logprobs if is_chat else _text_logprobs
    options = {**read_logprobs(fields), **plain_options(fields, renamed=RENAMED, hints=_HINTS)}
    if stream and "prompt_logprobs" in options:
        raise BodyError(
            "prompt_logprobs, and logprobs with echo, are not streamed: leave stream out", "prompt_logprobs"
        )
    generates = _generates(options, is_chat=is_chat, is_stream=stream)
    request = CompletionRequest(model, prompts, options, stream, names, reasoning.thinking)
    return CompletionBody(request, includes_usage, reasoning.is_told, generates)


def _generates(options: dict[str, Any], *, is_chat: bool, is_stream: bool) -> bool:
    """Return whether more than no token is wanted; a prompt that is only scored takes one, which the answer leaves out."""
    most = options.get("max_new_tokens")
    if is_chat or type(most) is not int or most != 0:
        return True
    if is_stream:
        raise BodyError("max_tokens 0 leaves nothing to stream: leave stream out", "max_tokens")
    options["max_new_tokens"] = 1
    return False


def conversation(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation and the tools that go with it."""
    messages = fields.pop("messages", None)
    if not isinstance(messages, list) or not messages:
        raise BodyError("messages must be a list of messages that is not empty", "messages")
    arguments: dict[str, Any] = {"messages": read_messages(messages)}
    if "tools" in fields:
        arguments["tools"] = take(fields, "tools", list, None)
    arguments |= read_tool_choice(fields, arguments.get("tools"))
    if "parallel_tool_calls" in fields:
        arguments["parallel_tool_calls"] = take(fields, "parallel_tool_calls", bool, True)
    variables = take(fields, "chat_template_kwargs", dict, None)
    if take(fields, "continue_final_message", bool, False):
        if take(fields, "add_generation_prompt", bool, False):
            raise BodyError(
                "add_generation_prompt must be false where continue_final_message is true: an answer is begun or gone on with",
                "add_generation_prompt",
            )
        arguments["continue_final_message"] = True
    elif not take(fields, "add_generation_prompt", bool, True):
        variables = {**(variables or {}), "add_generation_prompt": False}
    if variables is not None:
        arguments["template_options"] = variables
    return arguments


def _texts(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each text, or list of tokens, that is to be continued."""
    prompt = fields.pop("prompt", None)
    several = prompt if isinstance(prompt, list) and prompt and not are_tokens(prompt) else [prompt]
    for each in several:
        if not isinstance(each, str) and not are_tokens(each):
            raise BodyError("prompt must be a text, a list of tokens, or a list of these", "prompt")
    return [{"prompt": each} if isinstance(each, str) else {"token_ids": each} for each in several]


def _chat_logprobs(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the options for `logprobs`, true or false, and `top_logprobs`."""
    is_wanted = take(fields, "logprobs", bool, False)
    count = take(fields, "top_logprobs", int, 0)
    if count and not is_wanted:
        raise BodyError("top_logprobs needs logprobs to be true", "top_logprobs")
    return {"logprobs": True, "top_logprobs": count} if is_wanted else {}


def _text_logprobs(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the options for `logprobs`, which counts alternatives here; with `echo` the prompt's tokens have them, too."""
    count = take(fields, "logprobs", int, None)
    if count is None:
        return {}
    if fields.get("echo") is True:
        fields.setdefault("prompt_logprobs", count)
    return {"logprobs": True, "top_logprobs": count}
