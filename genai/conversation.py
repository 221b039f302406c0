"""From a conversation to a prompt: joins the tokenizer with its chat template and the formats of calls.

Knows no engine and no model. Loaded with the first conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genai.chat_prompt import ChatPrompt
from genai.config import ToolChoiceLike
from genai.errors import ChatTemplateError
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
    without_tool_roles,
)

__all__ = ["make_chat_prompt"]


def make_chat_prompt(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[ToolLike] | None = None,
    tool_choice: ToolChoiceLike = "auto",
    parallel_tool_calls: bool = True,
    variables: Mapping[str, Any] | None = None,
) -> ChatPrompt:
    """Return the prompt of a conversation.

    Where a chat template shows no tools, they and what was called are told in plain words (`genai.tools.plain_prompt`).

    Args:
        tokenizer: The model's tokenizer, with its chat template.
        messages: The conversation, as `plain_messages` returns it.
        tools: Functions that the model may call.
        tool_choice: Whether it must call, and whom; with "none" it is not shown the tools.
        parallel_tool_calls: Whether it may call several of them in one answer.
        variables: Further variables of the chat template.

    Raises:
        ChatTemplateError: The model has no chat template, or it refuses the conversation.
        OptionError: A tool is none, the choice impossible, or arguments of a call are damaged.
    """
    made = as_tools(tools) if tools is not None else ()
    choice = ToolChoice.of(tool_choice, made)
    shown = () if choice.mode == "none" else made
    template = tokenizer.template_for(has_tools=tools is not None)
    tool_format = find_format(template.source)
    messages = _with_calls_as_told(template, messages)
    if shown:
        text = _render_with_tools(template, messages, shown, variables or {})
        tool_format = GENERIC if template.tool_place == "nowhere" else tool_format or GENERIC
    else:
        text = template.render(messages, tools=None if tools is None else [], **(variables or {}))
    reasoning = find_reasoning(template.source)
    begun = messages[-1]["content"] if (variables or {}).get("continue_final_message") else ""
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
        calls_once=choice.name is not None or not parallel_tool_calls,
    )


def _render_with_tools(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Tool],
    variables: Mapping[str, Any],
) -> str:
    schemas = [tool.schema for tool in tools]
    if template.tool_place == "variable":
        return template.render(messages, tools=schemas, **variables)
    if template.tool_place == "system":
        has_system = bool(messages) and messages[0]["role"] == "system"
        system = messages[0] if has_system else {"role": "system", "content": ""}
        others = messages[1:] if has_system else messages
        return template.render([{**system, "tools": tools_as_text(schemas)}, *others], **variables)
    try:
        return template.render(tell_tools(messages, tools, in_system=True), **variables)
    except ChatTemplateError:  # some know no system message
        return template.render(tell_tools(messages, tools, in_system=False), **variables)


def _with_calls_as_told(
    template: ChatTemplate, messages: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Return messages with their calls as the template shows them, whether or not the functions are told again."""
    if not any(message.get("tool_calls") or message["role"] == "tool" for message in messages):
        return messages
    if template.tool_place == "nowhere":
        return without_tool_roles(messages)
    return [
        {
            **message,
            "tool_calls": with_arguments_as(
                message["tool_calls"], objects=template.takes_objects, where=f"messages[{index}]"
            ),
        }
        if message.get("tool_calls")
        else message
        for index, message in enumerate(messages)
    ]


def _kept_ids(tokenizer: Tokenizer, markers: Sequence[str]) -> frozenset[int]:
    special = {token_id: tokenizer.id_to_token(token_id) for token_id in tokenizer.special_ids}
    return frozenset(
        token_id
        for token_id, token in special.items()
        if token and any(token in marker for marker in markers)
    )
