"""Chat templates: a conversation becomes the prompt that a model was trained on.

Equal to transformers' apply_chat_template(tokenize=False), including what it does to messages before a template sees
them. Reads no files and knows no tokenizer; the rendering engine and its limits are in `template_sandbox`, which is
imported with the first template.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from genai.config import Message, ToolCall
from genai.errors import ChatTemplateError
from genai.text.template_probe import ToolPlace, find_tool_place, takes_objects

__all__ = ["ChatTemplate"]

MAX_SOURCE_CHARACTERS = 1 << 18

_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""The names that templates read a message's reasoning under; the first is the standard one."""

_CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "


class ChatTemplate:
    """A compiled chat template.

    Rendering is limited in steps, time and size, and sees nothing but its variables. Safe to share between threads.

    Args:
        source: The template in Hugging Face's dialect of Jinja.
        name: What errors call it; one of a folder's several templates has a name.
        special_tokens: Variables such as `bos_token` and `eos_token`.

    Raises:
        ChatTemplateError: The source is no valid template.

    >>> template = ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}",
    ...     special_tokens={"eos_token": "</s>"})
    >>> template.render([Message("user", "Hello")])
    '<user>Hello</s>'
    """

    def __init__(
        self, source: str, *, name: str = "default", special_tokens: Mapping[str, str] | None = None
    ) -> None:
        from genai.text.template_sandbox import TemplateEnvironment

        if len(source) > MAX_SOURCE_CHARACTERS:
            raise ChatTemplateError(
                f'chat template "{name}" has {len(source):,} characters; at most {MAX_SOURCE_CHARACTERS:,} are read'
            )
        self.source = source
        self.name = name
        self._special_tokens = dict(special_tokens or {})
        self._takes_objects: bool | None = None
        self._tool_place: ToolPlace | None = None
        self._variables: frozenset[str] | None = None
        self._lock = threading.Lock()  # the environment counts the steps of one rendering at a time
        self._environment = TemplateEnvironment()
        try:
            self._template = self._environment.from_string(source)
        except Exception as error:  # syntax errors, and what deep nesting does to a parser
            raise self._explain(error, "cannot be compiled") from error

    def render(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> str:
        """Return the conversation as one text.

        Args:
            messages: The conversation, oldest first.
            tools: JSON schemas of the functions that the model may call.
            documents: Documents to answer from, for templates that know them (each with "title" and "text").
            add_generation_prompt: End with what begins an assistant's answer.
            continue_final_message: End inside the last message instead, so that the model goes on with it.
            **variables: Anything else that the template knows, such as `enable_thinking`.

        Raises:
            ChatTemplateError: The template refuses the conversation, fails on it, or goes beyond its limits.
        """
        if continue_final_message and add_generation_prompt:
            raise ChatTemplateError(
                "continue_final_message and add_generation_prompt exclude each other: an answer is either continued "
                "or begun"
            )
        conversation = self._conversation(messages)
        opening = self._tag_final_message(conversation) if continue_final_message else ""
        text = self._render(
            **self._special_tokens
            | _plain(variables)
            | {
                "messages": conversation,
                "tools": _plain(_check_mappings("tools", tools)),
                "documents": _plain(_check_mappings("documents", documents)),
                "add_generation_prompt": add_generation_prompt,
            }
        )
        return self._cut_at_tag(text, opening) if continue_final_message else text

    @property
    def variables(self) -> frozenset[str]:
        """The variables that the template looks at, the conversation's own included.

        >>> sorted(ChatTemplate("{% if think is not defined %}{% set think = true %}{% endif %}{{ messages }}").variables)
        ['messages', 'think']
        """
        if self._variables is None:
            from jinja2 import meta

            parsed = self._environment.parse(self.source)
            self._variables = frozenset(meta.find_undeclared_variables(parsed))
        return self._variables

    @property
    def tool_place(self) -> ToolPlace:
        """Where the template looks for tools; found out by rendering one when first asked."""
        if self._tool_place is None:
            self._tool_place = find_tool_place(self._render_probe)
        return self._tool_place

    @property
    def takes_objects(self) -> bool:
        """Whether the arguments of calls are to be objects, as most templates want them, or JSON texts; found out likewise."""
        if self._takes_objects is None:
            self._takes_objects = takes_objects(self._render_probe)
        return self._takes_objects

    def _conversation(self, messages: Sequence[Message | Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages as a template sees them: plain data, without what is None, reasoning by every name."""
        if not messages:
            raise ChatTemplateError("the conversation is empty: a chat template needs at least one message")
        conversation = []
        for message in messages:
            values = message.to_dict() if isinstance(message, Message) else message
            if not isinstance(values, Mapping):
                raise ChatTemplateError(
                    f"a message must be a Message or a mapping with a role and content, not {values!r:.200}"
                )
            plain = {name: _plain(value) for name, value in values.items() if value is not None}
            reasoning = next((plain[name] for name in _REASONING_FIELDS if name in plain), None)
            if reasoning is not None:
                plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
            conversation.append(plain)
        return conversation

    def _render_probe(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> str:
        return self._render(
            **self._special_tokens,
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=False,
        )

    # --- rendering ---

    def _render(self, **variables: Any) -> str:
        from genai.text.template_sandbox import MAX_CHARACTERS, TemplateLimitError

        pieces: list[str] = []
        size = 0
        with self._lock:
            self._environment.meter.reset()
            try:
                for piece in self._template.generate(**variables):
                    pieces.append(piece)
                    size += len(piece)
                    if size > MAX_CHARACTERS:
                        raise TemplateLimitError(f"it renders more than {MAX_CHARACTERS:,} characters")
            except Exception as error:  # a template can raise whatever Python's operators and methods raise
                raise self._explain(error, "failed") from error
        return "".join(pieces)

    def _explain(self, error: Exception, what: str) -> ChatTemplateError:
        """Return the error that a user sees, with the line of the template."""
        from genai.text.template_sandbox import TemplateLimitError, TemplateRefusalError

        line = getattr(error, "lineno", None) or _template_line(error.__traceback__)
        where = f'chat template "{self.name}"' + (f", line {line}" if line else "")
        if isinstance(error, TemplateRefusalError):
            return ChatTemplateError(f"the {where} refuses this conversation: {error}")
        if isinstance(error, TemplateLimitError):
            return ChatTemplateError(f"the {where} was stopped: {error}")
        if isinstance(error, RecursionError):
            return ChatTemplateError(f"the {where} was stopped: it nests too deeply")
        return ChatTemplateError(f"the {where} {what}: {str(error) or type(error).__name__}")

    # --- continuing the final message ---

    def _tag_final_message(self, conversation: list[dict[str, Any]]) -> str:
        """Append a tag to the final message, where the prompt will be cut, and return the message's text."""
        if "content" not in self.source:
            raise ChatTemplateError(
                f'continue_final_message: chat template "{self.name}" does not show message content'
            )
        final = conversation[-1]
        content = final.get("content")
        if isinstance(content, str):
            final["content"] = content + _CONTINUE_TAG
            return content
        parts = content if isinstance(content, list) else []
        for part in reversed(parts):
            if isinstance(part, dict) and isinstance(text := part.get("text"), str):
                part["text"] = text + _CONTINUE_TAG
                return text
        raise ChatTemplateError("continue_final_message: the final message has no text to continue")

    def _cut_at_tag(self, text: str, opening: str) -> str:
        tag = _CONTINUE_TAG.strip()
        position = text.rfind(tag)
        if position < 0 or opening.strip() not in text:
            raise ChatTemplateError(
                f'continue_final_message: chat template "{self.name}" does not show the final message as it is'
            )
        if text.startswith(_CONTINUE_TAG, position):
            return text[:position]
        # The template strips messages, so the space before the tag would have gone too.
        return text[:position].rstrip()


def _check_mappings(
    option: str, values: Sequence[Mapping[str, Any]] | None
) -> Sequence[Mapping[str, Any]] | None:
    for value in values or ():
        if not isinstance(value, Mapping):
            what = (
                "the JSON schema of a function" if option == "tools" else 'a mapping with "title" and "text"'
            )
            raise ChatTemplateError(f"each of {option} must be {what}, not {value!r:.200}")
    return values


def _plain(value: Any) -> Any:
    """Rebuild a value from JSON's types, so that a template finds no methods that do something.

    As transformers does: numbers and strings lose their subclasses, anything else becomes its type's name.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, ToolCall):
        return _plain(value.to_dict())
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = map(_plain, value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return f"<{type(value).__name__}>"


def _template_line(traceback: TracebackType | None) -> int | None:
    """Return the template's innermost line in a traceback, which Jinja rewrites to show it."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
