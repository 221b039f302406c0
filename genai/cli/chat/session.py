"""A conversation: its messages and settings, and how it goes on. It knows no terminal."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genai.cli.chat.model import Answer, ChatModel
from genai.config import GenerationConfig, Message
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.engine import GenerationResult, GenerationStats

__all__ = ["Session", "Totals"]

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Totals:
    """What all answers of a session cost together."""

    answers: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    decoding_seconds: float = 0.0

    def plus(self, stats: GenerationStats) -> Totals:
        """Return the totals with one more answer."""
        return Totals(
            self.answers + 1,
            self.prompt_tokens + stats.prompt_tokens,
            self.cached_prompt_tokens + stats.cached_prompt_tokens,
            self.generated_tokens + stats.generated_tokens,
            self.decoding_seconds + stats.total_seconds - stats.time_to_first_token_seconds,
        )

    @property
    def tokens_per_second(self) -> float:
        """Speed over all answers, after the first token of each."""
        return (
            (self.generated_tokens - self.answers) / self.decoding_seconds if self.decoding_seconds else 0.0
        )


class Session:
    """A conversation with a model.

    Attributes:
        model: Who answers.
        system: The system prompt, which leads the conversation; None if there is none.
        messages: What was said so far, without the system prompt.
        settings: Generation options that differ from the model's defaults; change them through `set_option`.
        last: The last answer and what it cost.
        totals: What all answers cost.
        show_reasoning: Called with what the model thinks before it answers, as it comes.
    """

    def __init__(
        self, model: ChatModel, *, system: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.system = system
        self.messages: list[Message] = []
        self.settings: dict[str, Any] = {}
        self.replace_settings(settings or {})
        self.last: GenerationResult | None = None
        self._last_question: tuple[list[Message], GenerationConfig] | None = None
        self.totals = Totals()
        self.show_reasoning: Show = _ignore
        self._answer: Answer | None = None
        self._is_cancelled = False

    @property
    def conversation(self) -> list[Message]:
        """The messages as the model sees them, the system prompt first."""
        return self._with_system(self.messages)

    @property
    def config(self) -> GenerationConfig:
        """The generation options in force."""
        return self.model.defaults.merge(**self.settings)

    @property
    def context_used(self) -> int:
        """How many tokens of the context the conversation takes now."""
        return self.model.count_tokens(self.conversation) if self.messages else 0

    def ask(self, text: str, show: Show) -> GenerationResult:
        """Say something and let the model answer; what came of an answer that was cancelled stays, too.

        An answer of which nothing came, and one that failed, leave the conversation as it was.

        Args:
            text: The user's message.
            show: Called with each piece of the answer.

        Raises:
            OptionError: The conversation does not fit the context.
            GenaiError: The template refuses the conversation, or the model failed.
        """
        return self._continue([*self.messages, Message("user", text)], self.settings, show)

    def regenerate(self, show: Show) -> GenerationResult:
        """Answer the user's last message again, with a fresh seed; the old answer stays if none comes.

        Raises:
            OptionError: There is nothing to answer.
            GenaiError: As for `ask`.
        """
        length = self._last_exchange()
        if length is None:
            raise OptionError("there is no answer yet to do again")
        settings = dict(self.settings)
        if self.config.seed is not None:
            settings["seed"] = secrets.randbits(32)
        return self._continue(self.messages[: length + 1], settings, show)

    @property
    def would_repeat(self) -> bool:
        """Whether another answer to the last message would be the one that is there: nothing is drawn, and nothing changed."""
        length, config = self._last_exchange(), self.config
        if length is None or self.last is None or self.last.finish_reason == "cancelled":
            return False
        question = self._with_system(self.messages[: length + 1])
        is_same = (question, config) == self._last_question
        return is_same and not config.is_sampling and config.max_time is None

    def cancel(self) -> None:
        """Ask the answer that is coming to end; called in a signal handler."""
        self._is_cancelled = True
        if self._answer is not None:
            self._answer.cancel()

    def undo(self) -> str:
        """Take back the last exchange and return what the user had said.

        Raises:
            OptionError: There is none.
        """
        length = self._last_exchange()
        if length is None:
            raise OptionError("there is nothing to undo")
        text = str(self.messages[length].content)
        del self.messages[length:]
        return text

    def clear(self) -> None:
        """Forget the conversation; system prompt and settings stay."""
        self.messages = []
        self.last = None

    def set_option(self, name: str, value: Any) -> None:
        """Set a generation option.

        Raises:
            OptionError: It is unknown, or the value is impossible with the other settings.
        """
        self.replace_settings({**self.settings, name: value})

    def reset_option(self, name: str) -> None:
        """Go back to the model's default of an option."""
        self.replace_settings({key: value for key, value in self.settings.items() if key != name})

    def replace_settings(self, settings: Mapping[str, Any]) -> None:
        """Set all generation options at once.

        Raises:
            OptionError: One is unknown or impossible; the settings stay as they are.
        """
        config = self.model.defaults.merge(**settings)
        if config.num_return_sequences > 1:
            raise OptionError("num_return_sequences must be 1 in a conversation: there is one answer")
        if config.echo:
            raise OptionError("echo must be off in a conversation: the prompt is no part of an answer")
        self.settings = dict(settings)

    def exceeds_context(self, text: str) -> bool:
        """Whether the conversation has no room for this message and an answer."""
        messages = self._with_system([*self.messages, Message("user", text)])
        return self.model.count_tokens(messages) >= self.model.context_length

    def _continue(self, messages: list[Message], settings: Mapping[str, Any], show: Show) -> GenerationResult:
        self._is_cancelled = False
        answer = self._answer = self.model.answer(self._with_system(messages), settings)
        if self._is_cancelled:  # before there was anything to cancel
            answer.cancel()
        has_ended = False
        try:
            for piece in answer:
                if has_ended:  # and functions were called, and another answer begins
                    show("\n")
                has_ended = piece.finish_reason is not None
                if piece.reasoning:
                    self.show_reasoning(piece.reasoning)
                show(piece.text)
        finally:
            answer.close()
            self._answer = None
        result = answer.result
        assert result is not None
        if result.text or result.tool_calls or len(result.messages) > 1 or result.finish_reason == "stop":
            self.messages = [*messages, *(result.messages or [result.message])]
        self.last, self._last_question = result, (self._with_system(messages), self.config)
        self.totals = self.totals.plus(result.stats)
        return result

    def _last_exchange(self) -> int | None:
        """Return where the last user message is."""
        places = [i for i, message in enumerate(self.messages) if message.role == "user"]
        return places[-1] if places else None

    def _with_system(self, messages: list[Message]) -> list[Message]:
        return messages if self.system is None else [Message("system", self.system), *messages]


def _ignore(_text: str) -> None:
    pass
