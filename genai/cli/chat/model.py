"""What a conversation needs of a model, and a Generator seen that way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from genai.config import GenerationConfig, Message

if TYPE_CHECKING:
    from genai.engine import GenerationResult, Piece
    from genai.generator import Generator
    from genai.tools import Tool

__all__ = ["Answer", "ChatModel", "GeneratorModel"]


class Answer(Protocol):
    """An answer as it comes."""

    @property
    def result(self) -> GenerationResult | None:
        """The whole; None while it comes."""
        ...

    def __iter__(self) -> Iterator[Piece]: ...

    def cancel(self) -> None:
        """Ask for an end before the next step; called in a signal handler."""
        ...

    def close(self) -> None:
        """End now; does nothing if it has ended."""
        ...


class ChatModel(Protocol):
    """A model that answers conversations.

    Attributes:
        name: What the user called it.
        description: Facts for `/show`, by name.
        defaults: Its own generation options.
        context_length: Most tokens of a conversation, the answer included.
    """

    name: str
    description: Mapping[str, str]
    defaults: GenerationConfig
    context_length: int

    def answer(self, messages: Sequence[Message], options: Mapping[str, Any]) -> Answer:
        """Begin to answer, with these generation options over the defaults.

        Raises:
            OptionError: The conversation does not fit the context.
            ChatTemplateError: The template refuses the conversation.
        """
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return how many tokens of the context a conversation takes."""
        ...


class GeneratorModel:
    """A `Generator` as a `ChatModel`.

    Args:
        generator: The model; stays the caller's.
        name: What the user called it.
        template_options: Further variables of the chat template.
        tools: Functions that the model may call; those that are Python functions are called.
        tool_choice: Whether it must call: "none", "auto", "required", or a function's name.
    """

    def __init__(
        self,
        generator: Generator,
        name: str,
        *,
        template_options: Mapping[str, Any] | None = None,
        tools: Sequence[Tool] | None = None,
        tool_choice: str = "auto",
    ) -> None:
        self._generator = generator
        self._tools = tools
        self._tool_choice = tool_choice
        self._calls = bool(tools) and all(tool.function is not None for tool in tools or ())
        self._template_options = dict(template_options or {})
        self.name = name
        self.defaults = generator.folder.generation
        self.context_length = generator.context_length
        precision = generator.folder.manifest.precision if generator.folder.manifest else ""
        self.description: Mapping[str, str] = {
            "model": f"{name}{f' ({precision})' if precision else ''}",
            "folder": str(generator.folder.path),
            "provider": generator.provider,
        }

    def answer(self, messages: Sequence[Message], options: Mapping[str, Any]) -> Answer:
        """Begin to answer; see `ChatModel`."""
        rounds: dict[str, Any] = {"auto_call": True} if self._calls else {}
        answer: Answer = self._generator.stream_chat(
            messages,
            tools=self._tools,
            tool_choice=self._tool_choice,
            template_options=self._template_options,
            **rounds,
            **options,
        )
        return answer

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return how many tokens of the context a conversation takes."""
        if not messages:
            return 0
        return self._generator.count_tokens(
            messages=messages, tools=self._tools, template_options=self._template_options
        )
