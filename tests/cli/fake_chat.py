"""A model that answers what a test says, and a screen that remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genai.cli.chat.presenter import Presenter
from genai.cli.chat.repl import Repl
from genai.cli.chat.session import Session
from genai.config import GenerationConfig, Message
from genai.engine import GenerationResult, GenerationStats, Piece
from genai.errors import OptionError


class FakeAnswer:
    """The words of a text as pieces, a token each; `cancel` ends it before the next."""

    def __init__(self, words: Sequence[str], prompt_tokens: int, reason: str = "stop") -> None:
        self.result: GenerationResult | None = None
        self.is_closed = False
        self._words = words
        self._prompt_tokens = prompt_tokens
        self._reason = reason
        self._is_cancelled = False

    def __iter__(self) -> Iterator[Piece]:
        given = []
        for word in self._words:
            if self._is_cancelled:
                break
            given.append(word)
            yield Piece(word, (len(given),))
        reason: Any = "cancelled" if self._is_cancelled else self._reason
        self.result = GenerationResult(
            text="".join(given),
            token_ids=tuple(range(len(given))),
            prompt_token_ids=(0,) * self._prompt_tokens,
            finish_reason=reason,
            stats=GenerationStats(self._prompt_tokens, 2, len(given), 0.5, 1.5, float(len(given) - 1)),
        )

    def cancel(self) -> None:
        self._is_cancelled = True

    def close(self) -> None:
        self.is_closed = True


class FakeModel:
    """Answers with `reply`, and remembers what it was asked; a word is a token."""

    name = "fake"

    def __init__(self, *, defaults: GenerationConfig | None = None, context_length: int = 100) -> None:
        self.defaults = defaults or GenerationConfig()
        self.context_length = context_length
        self.description: Mapping[str, str] = {"model": "fake (fp32)", "provider": "cpu"}
        self.reply = "Good day !"
        self.reason = "stop"
        self.asked: list[list[tuple[str, Any]]] = []
        self.options: list[Mapping[str, Any]] = []
        self.answers: list[FakeAnswer] = []

    def answer(self, messages: Sequence[Message], options: Mapping[str, Any]) -> FakeAnswer:
        self.defaults.merge(**options)
        if (length := self.count_tokens(messages)) > self.context_length:
            raise OptionError(f"the prompt has {length} tokens, but the context holds {self.context_length}")
        self.asked.append([(message.role, message.content) for message in messages])
        self.options.append(dict(options))
        words = [word + " " for word in self.reply.split()]
        self.answers.append(FakeAnswer(words, self.count_tokens(messages), self.reason))
        return self.answers[-1]

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(str(message.content).split()) for message in messages)


class RecordingScreen:
    """Remembers what was shown."""

    def __init__(self) -> None:
        self.answers: list[str] = [""]
        self.reasonings: list[str] = []
        self.texts: list[str] = []
        self.notes: list[str] = []
        self.errors: list[str] = []

    def answer(self, text: str) -> None:
        self.answers[-1] += text

    def reasoning(self, text: str) -> None:
        self.reasonings.append(text)

    def end_answer(self) -> None:
        self.answers.append("")

    def text(self, text: str) -> None:
        self.texts.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def error(self, text: str) -> None:
        self.errors.append(text)


class Conversation:
    """A `Repl` over the fakes."""

    def __init__(self, *, shows_stats: bool = False, system: str | None = None, **model: Any) -> None:
        self.model = FakeModel(**model)
        self.screen = RecordingScreen()
        self.session = Session(self.model, system=system)
        self.repl = Repl(Presenter(self.session, self.screen, shows_stats=shows_stats))

    def say(self, *lines: str) -> None:
        for line in lines:
            assert self.repl.handle(line)

    @property
    def said(self) -> list[tuple[str, Any]]:
        return [(message.role, message.content) for message in self.session.messages]
