"""From a conversation to a prompt: joins the tokenizer with its chat template and the formats of calls.

Knows no engine and no model. Loaded with the first conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genai.chat_prompt import ChatPrompt
from genai.config import Message, ToolCall, ToolChoiceLike
from genai.errors import ChatTemplateError, OptionError
from genai.text import ChatTemplate, Tokenizer, tools_as_text, with_arguments_as
from genai.tools import (
    GENERIC,
    Tool,
    ToolChoice,
    ToolLike,
    as_tools,
    find_format,
    find_reasoning,
    has_reasoned,
    opens_reasoning,
    tell_tools,
)

__all__ = ["make_chat_prompt"]


def make_chat_prompt(
    tokenizer: Tokenizer,
    messages: Sequence[Message | Mapping[str, object]],
    *,
    tools: Sequence[ToolLike] | None = None,
    tool_choice: ToolChoiceLike = "auto",
    variables: Mapping[str, Any] | None = None,
) -> ChatPrompt:
    """Return the prompt of a conversation.

    Where a chat template shows no tools, they are told in plain words (`genai.tools.plain_prompt`).

    Args:
        tokenizer: The model's tokenizer, with its chat template.
        messages: The conversation.
        tools: Functions that the model may call.
        tool_choice: Whether it must call, and whom; with "none" it is not shown the tools.
        variables: Further variables of the chat template.

    Raises:
        ChatTemplateError: The model has no chat template, or it refuses the conversation.
        OptionError: A tool is none, or the choice impossible.
    """
    made = as_tools(tools) if tools is not None else ()
    choice = ToolChoice.of(tool_choice, made)
    shown = () if choice.mode == "none" else made
    template = tokenizer.template_for(has_tools=tools is not None)
    tool_format = find_format(template.source)
    messages = [_as_told(template, message) for message in messages]
    if shown:
        text = _render_with_tools(template, messages, shown, variables or {})
        tool_format = GENERIC if template.tool_place == "nowhere" else tool_format or GENERIC
    else:
        text = template.render(messages, tools=None if tools is None else [], **(variables or {}))
    reasoning = find_reasoning(template.source)
    begun = _text_of(messages[-1]) if (variables or {}).get("continue_final_message") else ""
    is_reasoning = reasoning is not None and opens_reasoning(reasoning, text, last_message=begun)
    markers = (*(tool_format.texts if tool_format else ()), *(reasoning.texts if reasoning else ()))
    return ChatPrompt(
        tokenizer.encode(text, add_special_tokens=False),
        tool_format,
        {tool.name: tool.parameters for tool in shown},
        reasoning,
        is_reasoning,
        reasoning is not None and has_reasoned(reasoning, text, last_message=begun),
        _kept_ids(tokenizer, markers),
        tuple(choice.allowed(shown)),
        must_call=choice.mode == "required",
        calls_once=choice.name is not None,
    )


def _render_with_tools(
    template: ChatTemplate,
    messages: list[Message | Mapping[str, Any]],
    tools: Sequence[Tool],
    variables: Mapping[str, Any],
) -> str:
    schemas = [tool.schema for tool in tools]
    if template.tool_place == "variable":
        return template.render(messages, tools=schemas, **variables)
    conversation = [each.to_dict() if isinstance(each, Message) else dict(each) for each in messages]
    if template.tool_place == "system":
        has_system = bool(conversation) and conversation[0].get("role") == "system"
        system = conversation.pop(0) if has_system else {"role": "system", "content": ""}
        return template.render([{**system, "tools": tools_as_text(schemas)}, *conversation], **variables)
    try:
        return template.render(tell_tools(conversation, tools, in_system=True), **variables)
    except ChatTemplateError:  # some know no system message
        return template.render(tell_tools(conversation, tools, in_system=False), **variables)


def _as_told(template: ChatTemplate, message: Message | Mapping[str, Any]) -> Message | Mapping[str, Any]:
    """Return a message with the arguments of its calls as the template wants them."""
    calls = message.tool_calls if isinstance(message, Message) else None
    if isinstance(message, Mapping):
        calls = message.get("tool_calls")
    if not calls:
        return message
    if not isinstance(calls, Sequence) or not all(isinstance(call, (ToolCall, Mapping)) for call in calls):
        raise OptionError(f"a message's tool_calls must be a list of calls, not {calls!r:.200}")
    told = message.to_dict() if isinstance(message, Message) else dict(message)
    plain = [call.to_dict() if isinstance(call, ToolCall) else call for call in calls]
    return {**told, "tool_calls": with_arguments_as(plain, objects=template.takes_objects)}


def _text_of(message: Message | Mapping[str, Any]) -> str:
    content = message.content if isinstance(message, Message) else message.get("content")
    return content if isinstance(content, str) else ""


def _kept_ids(tokenizer: Tokenizer, markers: Sequence[str]) -> frozenset[int]:
    special = {token_id: tokenizer.id_to_token(token_id) for token_id in tokenizer.special_ids}
    return frozenset(
        token_id
        for token_id, token in special.items()
        if token and any(token in marker for marker in markers)
    )
