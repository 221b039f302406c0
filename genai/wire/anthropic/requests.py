"""Anthropic's request bodies as arguments of `Generator.build_request`; every field is carried out or refused by its name.

Beside Anthropic's own there are the fields of `GenerationConfig` (min_p, repetition_penalty, ...), as in OpenAI's bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.wire.anthropic.blocks import plain_conversation, text_of
from genai.wire.anthropic.tools import plain_choice, plain_tools
from genai.wire.exchange import CompletionRequest
from genai.wire.fields import BodyError, body_fields, drop_usual, refuse_rest, take
from genai.wire.options import plain_options
from genai.wire.thinking import Thinking

__all__ = ["NOT_SHOWN", "RENAMED", "USUAL", "read_count_request", "read_messages_request"]

RENAMED = {"max_tokens": "max_new_tokens", "stop_sequences": "stop"}
_NAMES = {"max_reasoning_tokens": "thinking.budget_tokens", "response_format": "output_config.format"}
USUAL: Mapping[str, tuple[Any, ...]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
}
NOT_SHOWN = ("num_return_sequences", "logprobs", "top_logprobs", "prompt_logprobs", "echo")
"""Options whose outcome an answer of this interface has no place for."""
_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config")


def read_messages_request(body: Any) -> CompletionRequest:
    """Return what a body asks for; a field that is null is left out.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
            own checks find, when the request is built.
    """
    fields = _fields(body)
    drop_usual(fields, USUAL)
    model = take(fields, "model", str, None)
    stream = take(fields, "stream", bool, False)
    if type(fields.get("max_tokens")) is not int:
        raise BodyError("max_tokens must be an integer, and is needed here", "max_tokens")
    options = _form(fields)
    prompt, thinking = _prompt(fields), _thinking(fields)
    for name in NOT_SHOWN:
        if name in fields:
            raise BodyError(f"{name}: an answer has no place for it here; /v1/chat/completions has", name)
    names = {option: name for name, option in RENAMED.items() if name in fields}
    options |= plain_options(fields, renamed=RENAMED)
    return CompletionRequest(model, [prompt], options, stream, {**names, **_NAMES}, thinking)


def read_count_request(body: Any) -> CompletionRequest:
    """Read the body of a request for the number of a conversation's tokens.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    fields = _fields(body)
    drop_usual(fields, USUAL)
    model = take(fields, "model", str, None)
    _form(fields)  # it is no part of the prompt
    prompt, thinking = _prompt(fields), _thinking(fields)
    refuse_rest(fields, known=_COUNTED)
    return CompletionRequest(model, [prompt], {}, names=_NAMES, thinking=thinking)


def _fields(body: Any) -> dict[str, Any]:
    fields = body_fields(body)
    take(fields, "cache_control", dict, None)  # the cache finds by itself what it knows
    return fields


def _prompt(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a conversation and the tools that go with it; an answer that was begun is gone on with."""
    messages = plain_conversation(fields.pop("messages", None))
    system = text_of(fields.pop("system", ""), "system", between="\n\n")
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    prompt: dict[str, Any] = {"messages": messages}
    if messages[-1]["role"] == "assistant":
        if "tool_calls" in messages[-1]:
            raise BodyError(
                "messages: the last one calls tools, whose results (tool_result) must follow", "messages"
            )
        prompt["continue_final_message"] = True
    if "tools" in fields:
        prompt["tools"] = plain_tools(fields.pop("tools"))
    if "tool_choice" in fields:
        prompt["tool_choice"], is_single = plain_choice(fields.pop("tool_choice"))
        if is_single:
            prompt["parallel_tool_calls"] = False
    if variables := take(fields, "chat_template_kwargs", dict, None):
        prompt["template_options"] = variables
    return prompt


def _thinking(fields: dict[str, Any]) -> Thinking | None:
    """Return what `thinking` asks for: a budget is a limit, which a model that does not think keeps."""
    given = take(fields, "thinking", dict, None)
    if given is None:
        return None
    kind = given.get("type")
    known = {"type", "display", *(("budget_tokens",) if kind == "enabled" else ())}
    if kind not in ("enabled", "disabled", "adaptive") or given.keys() - known:
        raise BodyError(
            'thinking must be of the type "enabled", with budget_tokens, "disabled" or "adaptive"', "thinking"
        )
    if given.get("display") not in (None, "summarized"):
        raise BodyError("thinking: display can only be summarized here, where all of it is shown", "thinking")
    if kind == "adaptive":
        return None
    if kind == "disabled":
        return Thinking(False, "thinking")
    budget = given.get("budget_tokens")
    if type(budget) is not int or budget < 1:
        raise BodyError("thinking: budget_tokens must be an integer of at least 1", "thinking")
    return Thinking(True, "thinking", budget, is_needed=False)


def _form(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the option for the form that `output_config` asks for."""
    given = take(fields, "output_config", dict, {})
    if unknown := given.keys() - {"format", "effort"}:
        raise BodyError(f'output_config has an unknown field "{min(unknown)}"', "output_config")
    if given.get("effort") not in (None, "high"):
        raise BodyError(
            'output_config: effort can only be "high" here, which is as much as none; thinking has a budget',
            "output_config",
        )
    form = given.get("format")
    if form is None:
        return {}
    if not isinstance(form, Mapping) or form.keys() != {"type", "schema"} or form["type"] != "json_schema":
        raise BodyError(
            'output_config: format must have the type "json_schema" and a schema', "output_config"
        )
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": form["schema"]},
        }
    }
