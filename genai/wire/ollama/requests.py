"""Ollama's request bodies as arguments of `Generator.build_request`; every field is carried out or refused by its name."""

from __future__ import annotations

from typing import Any

from genai.wire.exchange import CompletionRequest
from genai.wire.fields import BodyError, body_fields, refuse_rest, take
from genai.wire.ollama.durations import read_keep_alive
from genai.wire.ollama.messages import plain_conversation
from genai.wire.ollama.options import NAMES, read_form, read_options
from genai.wire.thinking import Thinking

__all__ = ["read_chat_request", "read_generate_request"]

_COMMON = (
    *("model", "stream", "options", "format", "keep_alive", "think", "logprobs", "top_logprobs", "truncate"),
)
_CHAT = ("messages", "tools", *_COMMON)
_GENERATE = ("prompt", "system", "raw", "suffix", "template", "context", "images", *_COMMON)


def read_chat_request(body: Any) -> CompletionRequest:
    """Return what a body asks for; without messages the model is only loaded.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
            own checks find, when the request is built.
    """
    fields = body_fields(body)
    messages = plain_conversation(fields.pop("messages", []))
    tools = take(fields, "tools", list, [])
    prompts: list[dict[str, Any]] = []
    if messages:
        prompts = [{"messages": messages, **({"tools": tools} if tools else {})}]
    return _request(fields, prompts, known=_CHAT)


def read_generate_request(body: Any) -> CompletionRequest:
    """Return what a body asks for; without a prompt the model is only loaded.

    A prompt is a user's message, or, raw, the text that is continued.

    Raises:
        BodyError: As `read_chat_request` says.
    """
    fields = body_fields(body)
    for name, instead in (
        ("suffix", "nothing is written between two texts here"),
        ("template", "the model's own chat template is used; a raw prompt is in any form"),
        ("context", "a conversation goes on at /api/chat, whose beginning the cache knows"),
        ("images", "texts are read here"),
    ):
        if fields.pop(name, None):
            raise BodyError(f"{name} must be left out: {instead}", name)
    prompt, system = take(fields, "prompt", str, ""), take(fields, "system", str, "")
    is_raw = take(fields, "raw", bool, False)
    if is_raw and system:
        raise BodyError("system must be left out where the prompt is raw, which is taken as it is", "system")
    prompts: list[dict[str, Any]] = []
    if prompt and is_raw:
        prompts = [{"prompt": prompt}]
    elif prompt:
        messages = [{"role": "system", "content": system}] if system else []
        prompts = [{"messages": [*messages, {"role": "user", "content": prompt}]}]
    request = _request(fields, prompts, known=_GENERATE)
    if is_raw and request.thinking is not None:
        raise BodyError("think must be left out where the prompt is raw, which is taken as it is", "think")
    return request


def _request(
    fields: dict[str, Any], prompts: list[dict[str, Any]], *, known: tuple[str, ...]
) -> CompletionRequest:
    """Return the request for some prompts, with what is left of a body."""
    model = take(fields, "model", str, None)
    stream = take(fields, "stream", bool, True)
    keep_alive = read_keep_alive(fields.pop("keep_alive", None))
    options, num_context = read_options(take(fields, "options", dict, {}))
    options |= read_form(fields.pop("format", None))
    options |= _logprobs(fields)
    if "truncate" in fields:
        is_cut = take(fields, "truncate", bool, False)
        options.setdefault("context_policy", "truncate_turns" if is_cut else "stop")
    thinking = _thinking(fields)
    refuse_rest(fields, known=known)
    return CompletionRequest(
        model, prompts, options, stream, NAMES, thinking, keep_alive=keep_alive, num_context=num_context
    )


def _logprobs(fields: dict[str, Any]) -> dict[str, Any]:
    is_wanted, count = take(fields, "logprobs", bool, False), take(fields, "top_logprobs", int, 0)
    if count and not is_wanted:
        raise BodyError("top_logprobs needs logprobs to be true", "top_logprobs")
    return {"logprobs": True, "top_logprobs": count} if is_wanted else {}


def _thinking(fields: dict[str, Any]) -> Thinking | None:
    wanted = fields.pop("think", None)
    if wanted in (None, ""):
        return None
    if not isinstance(wanted, bool) and wanted not in ("high", "medium", "low"):
        raise BodyError(f'think must be true, false, "high", "medium" or "low", not {wanted!r:.100}', "think")
    return Thinking(wanted, "think")
