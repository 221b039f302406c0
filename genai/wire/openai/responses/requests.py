"""Response bodies as arguments of `Generator.build_request`; every field is carried out or refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.wire.exchange import CompletionRequest
from genai.wire.fields import LABELS, BodyError, body_fields, drop_usual, refuse_rest, take
from genai.wire.openai.reasoning import thinking_of
from genai.wire.openai.responses.conversation import read_input
from genai.wire.openai.shared_fields import read_stream_options
from genai.wire.openai.tool_choice import read_tool_choice
from genai.wire.options import plain_options
from genai.wire.thinking import Thinking

__all__ = ["LOGPROBS", "PACKED", "REFUSED", "RENAMED", "USUAL", "ResponseSettings", "read_response"]

RENAMED: Mapping[str, str] = {"max_output_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}
USUAL: Mapping[str, tuple[Any, ...]] = {
    "store": (False,),
    "background": (False,),
    "service_tier": ("auto", "default"),
    "prompt_cache_retention": ("in_memory",),
}
_NOT_STORED = " Nothing is stored here: send the whole conversation as input."
_STORED = ("previous_response_id", "conversation")
"""Fields that go on with what is stored."""
_ONE_ANSWER = " A response has one answer."
_HINTS: Mapping[str, str] = {
    "prompt": " There are no stored prompts here: send instructions and input.",
    "messages": " A response answers input.",
    "max_tokens": " Here it is max_output_tokens.",
    "n": _ONE_ANSWER,
    "reasoning_effort": " Here it is the effort of reasoning.",
    "response_format": " Here it is the format of text.",
}
REFUSED = ("num_return_sequences", "prompt_logprobs", "echo", "response_format")
"""Options that a response has no place for, or another one."""
LOGPROBS, PACKED = "message.output_text.logprobs", "reasoning.encrypted_content"


@dataclass(frozen=True, slots=True)
class ResponseSettings:
    """What a response says of what was asked for.

    Args:
        told: Fields of its body.
        packs_reasoning: Whether reasoning is handed out as `encrypted_content`, too.
    """

    told: Mapping[str, Any]
    packs_reasoning: bool = False


def read_response(body: Any) -> tuple[CompletionRequest, ResponseSettings]:
    """Return what a body asks for, and what its answer says of that; a field that is null is left out.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
            own checks find, when the request is built.
    """
    fields = body_fields(body)
    labels = {name: body[name] for name in sorted(LABELS) if body.get(name) is not None}
    if not isinstance(labels.get("metadata", {}), Mapping):
        raise BodyError("metadata must be an object", "metadata")
    given = dict(fields)
    if fields.get("store") is True:
        raise BodyError(f"store must be false, as it is if left out.{_NOT_STORED}", "store")
    drop_usual(fields, USUAL)
    model = take(fields, "model", str, None)
    stream = take(fields, "stream", bool, False)
    if read_stream_options(fields, "include_obfuscation", is_stream=stream):
        raise BodyError("stream_options: include_obfuscation can only be false here", "stream_options")
    prompt = _conversation(fields)
    thinking = _thinking(fields)
    included = _included(fields)
    options = {**_form(fields), **_truncation(fields), **_logprobs(fields, included)}
    for name in _STORED:
        if name in fields:
            raise BodyError(f"{name} is not taken here.{_NOT_STORED}", name)
    for name in REFUSED:
        if name in fields:
            raise BodyError(f'unknown field "{name}".{_HINTS.get(name, _ONE_ANSWER)}', name)
    options |= plain_options(fields, renamed=RENAMED, hints=_HINTS)
    names = {option: name for name, option in RENAMED.items() if name in given}
    names |= {"prompt_token_ids": "input", "response_format": "text.format"}
    if "truncation" in given:
        names["context_policy"] = "truncation"
    settings = ResponseSettings(_told(given, labels), packs_reasoning=PACKED in included)
    return CompletionRequest(model, [prompt], options, stream, names, thinking), settings


def _conversation(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the conversation and the tools that go with it."""
    instructions = take(fields, "instructions", str, None)
    prompt: dict[str, Any] = {"messages": read_input(fields.pop("input", None), instructions=instructions)}
    tools = take(fields, "tools", list, None)
    if tools is not None:
        prompt["tools"] = tools
        for index, tool in enumerate(tools):
            kind = tool.get("type") if isinstance(tool, Mapping) else None
            if kind != "function":
                raise BodyError(
                    f"tools[{index}]: there are no built-in tools here, such as {kind!r:.100}, only functions, which the "
                    "client carries out",
                    f"tools[{index}].type",
                )
    prompt |= read_tool_choice(fields, tools)
    if "parallel_tool_calls" in fields:
        prompt["parallel_tool_calls"] = take(fields, "parallel_tool_calls", bool, True)
    if "priority" in fields:
        prompt["priority"] = take(fields, "priority", int, 0)
    variables = take(fields, "chat_template_kwargs", dict, None)
    if variables is not None:
        prompt["template_options"] = variables
    return prompt


def _thinking(fields: dict[str, Any]) -> Thinking | None:
    """Return what `reasoning` asks for; there are no summaries, the reasoning itself is told."""
    reasoning = take(fields, "reasoning", dict, {})
    rest = {name: value for name, value in reasoning.items() if value is not None}
    for name in ("summary", "generate_summary"):
        if rest.pop(name, "auto") not in ("auto", "detailed"):
            raise BodyError(
                f'reasoning: {name} can only be "auto" or "detailed" here, where reasoning is told as it is',
                f"reasoning.{name}",
            )
    effort = take(rest, "effort", str, None)
    refuse_rest(rest, known=("effort", "summary"))
    return None if effort is None else thinking_of(effort, "reasoning.effort")


def _included(fields: dict[str, Any]) -> frozenset[str]:
    """Return what the answer is to have beside what it has anyway."""
    include = take(fields, "include", list, [])
    for each in include:
        if each not in (LOGPROBS, PACKED):
            raise BodyError(
                f"include: there is no {each!r:.100} here; there are: {LOGPROBS}, {PACKED}", "include"
            )
    return frozenset(include)


def _form(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the option for the `format` of `text`."""
    text = take(fields, "text", dict, {})
    rest = {name: value for name, value in text.items() if value is not None}
    if rest.pop("verbosity", "medium") != "medium":
        raise BodyError('text: verbosity can only be "medium" here', "text.verbosity")
    form = take(rest, "format", dict, None)
    refuse_rest(rest, known=("format", "verbosity"))
    return {} if form is None else {"response_format": form}


def _truncation(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the option for `truncation`: whether a conversation that is too long loses its oldest turns."""
    truncation = take(fields, "truncation", str, "disabled")
    if truncation not in ("auto", "disabled"):
        raise BodyError(f'truncation must be "auto" or "disabled", not "{truncation:.100}"', "truncation")
    if truncation == "auto" and "context_policy" in fields:
        raise BodyError("truncation and context_policy say the same: leave one of them out", "truncation")
    return {"context_policy": "truncate_turns"} if truncation == "auto" else {}


def _logprobs(fields: dict[str, Any], included: frozenset[str]) -> dict[str, Any]:
    """Return the options for log-probabilities, which `logprobs`, `top_logprobs` and `include` ask for alike."""
    count = take(fields, "top_logprobs", int, 0)
    is_asked = bool(count) or LOGPROBS in included
    if not take(fields, "logprobs", bool, is_asked):
        if is_asked:
            raise BodyError(
                "logprobs must be true, or left out, where top_logprobs or include asks for them", "logprobs"
            )
        return {}
    return {"logprobs": True, "top_logprobs": count}


def _told(given: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a response that say what was asked for."""
    text = given.get("text", {})
    reasoning = given.get("reasoning", {})
    return {
        "background": False,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "metadata": {},
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": False,
        "temperature": given.get("temperature"),
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": "medium"},
        "tool_choice": given.get("tool_choice", "auto"),
        "tools": given.get("tools", []),
        "top_logprobs": given.get("top_logprobs", 0),
        "top_p": given.get("top_p"),
        "truncation": given.get("truncation", "disabled"),
        **labels,
    }
