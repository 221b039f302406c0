"""OpenAI's request bodies (https://platform.openai.com/docs/api-reference) as arguments of `Generator.build_request`.

Every field is carried out or refused by its name. Beside OpenAI's own there are the fields of `GenerationConfig`, as other
servers have them too (top_k, min_p, repetition_penalty, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.config import plain_messages
from genai.errors import OptionError
from genai.wire.exchange import CompletionRequest
from genai.wire.fields import BodyError, are_tokens, body_fields, drop_usual, take
from genai.wire.options import plain_options

__all__ = ["conversation", "read_completion"]

_RENAMED = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
    "n": "num_return_sequences",
}
_USUAL: Mapping[str, tuple[Any, ...]] = {
    "parallel_tool_calls": (True,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
}
"""Fields that many clients send, with the values that ask for what happens here anyway."""
_ELSEWHERE: Mapping[str, str] = {
    "reasoning_effort": " What a chat template knows of it goes into chat_template_kwargs, as enable_thinking does; "
    "max_reasoning_tokens is a limit.",
}
"""What says here what a field says elsewhere."""


def read_completion(body: Any, *, is_chat: bool) -> tuple[CompletionRequest, bool]:
    """Return what a body asks for, and whether a stream's last chunk is to say what it took; a field that is null is left out.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
            own checks find, when the request is built.
    """
    fields = body_fields(body)
    drop_usual(fields, _USUAL)
    model = take(fields, "model", str, None)
    stream = take(fields, "stream", bool, False)
    includes_usage = _includes_usage(fields, is_stream=stream)
    prompts = [conversation(fields)] if is_chat else _texts(fields)
    names = {option: name for name, option in _RENAMED.items() if name in fields}
    if not is_chat and "logprobs" in fields:
        names["top_logprobs"] = "logprobs"
    read_logprobs = _chat_logprobs if is_chat else _text_logprobs
    options = {
        **read_logprobs(fields),
        **_bias(fields),
        **plain_options(fields, renamed=_RENAMED, hints=_ELSEWHERE),
    }
    if stream and "prompt_logprobs" in options:
        raise BodyError(
            "prompt_logprobs, and logprobs with echo, are not streamed: leave stream out", "prompt_logprobs"
        )
    return CompletionRequest(model, prompts, options, stream, names), includes_usage


def _includes_usage(fields: dict[str, Any], *, is_stream: bool) -> bool:
    """Return what `stream_options` asks for."""
    options = take(fields, "stream_options", dict, {})
    if options and not is_stream:
        raise BodyError("stream_options needs stream to be true", "stream_options")
    if unknown := options.keys() - {"include_usage"}:
        raise BodyError(f'stream_options has an unknown field "{min(unknown)}"', "stream_options")
    if not isinstance(options.get("include_usage", False), bool):
        raise BodyError("stream_options: include_usage must be true or false", "stream_options")
    return bool(options.get("include_usage", False))


def conversation(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation and the tools that go with it."""
    messages = fields.pop("messages", None)
    if not isinstance(messages, list) or not messages:
        raise BodyError("messages must be a list of messages that is not empty", "messages")
    try:
        arguments: dict[str, Any] = {"messages": plain_messages(messages)}
    except OptionError as error:
        raise BodyError(str(error), "messages") from None
    for name in ("tools", "tool_choice"):
        if name in fields:
            arguments[name] = fields.pop(name)
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


def _bias(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the option for `logit_bias`, whose token ids are texts in JSON."""
    bias = take(fields, "logit_bias", dict, None)
    if bias is None:
        return {}
    try:
        return {"logit_bias": {int(token_id): value for token_id, value in bias.items()}}
    except ValueError:
        raise BodyError("logit_bias must map token ids to numbers", "logit_bias") from None
