"""The loop's body: one line of input becomes an answer or a command. It reads no terminal and writes to a `Screen`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from genai.cli.chat.commands import COMMANDS, Leave
from genai.cli.chat.session import Session
from genai.cli.interrupts import interrupts_call
from genai.cli.output import format_stats
from genai.errors import ChatTemplateError, GenaiError, OptionError, did_you_mean

if TYPE_CHECKING:
    from genai.engine import GenerationResult

__all__ = ["BLOCK_MARK", "Repl", "Screen", "is_open_block", "strip_block"]

BLOCK_MARK = '"""'


class Screen(Protocol):
    """Where a conversation is shown."""

    def answer(self, text: str) -> None:
        """Show a piece of an answer, at once."""
        ...

    def end_answer(self) -> None:
        """End the answer's last line."""
        ...

    def text(self, text: str) -> None:
        """Show what a command was asked for."""
        ...

    def note(self, text: str) -> None:
        """Show a remark."""
        ...

    def error(self, text: str) -> None:
        """Show what went wrong."""
        ...


class Repl:
    """A conversation driven line by line.

    Args:
        session: The conversation.
        screen: Where it is shown.
        shows_stats: Whether an answer ends with what it cost.
        interrupts: Makes Ctrl-C call a function for as long as a block lasts.
    """

    def __init__(
        self,
        session: Session,
        screen: Screen,
        *,
        shows_stats: bool = True,
        interrupts: Callable[[Callable[[], None]], AbstractContextManager[object]] = interrupts_call,
    ) -> None:
        self.session = session
        self.screen = screen
        self._shows_stats = shows_stats
        self._interrupts = interrupts

    def handle(self, line: str) -> bool:
        """Do what a line says; return whether the conversation goes on."""
        try:
            if line.startswith("/"):
                self._command(line)
            elif text := strip_block(line):
                self.ask(text)
        except Leave:
            return False
        except GenaiError as error:
            self.screen.error(str(error))
        return True

    def ask(self, text: str) -> None:
        """Show the answer to a message.

        Raises:
            OptionError: The conversation is longer than the context; the message says what to do.
            GenaiError: The answer failed.
        """
        try:
            self._show(lambda: self.session.ask(text, self.screen.answer))
        except ChatTemplateError as error:
            raise ChatTemplateError(
                f"{error}; `genai generate --model {self.session.model.name}` continues plain text"
            ) from error
        except OptionError as error:
            if self.session.exceeds_context(text):
                raise OptionError(self._too_long()) from error
            raise

    def regenerate(self) -> None:
        """Show another answer to the last message."""
        self._show(lambda: self.session.regenerate(self.screen.answer))
        if not self.session.config.is_sampling:
            self.screen.note("Greedy decoding gives the same answer again; /set temperature 0.8 for others.")

    def _show(self, answer: Callable[[], GenerationResult]) -> None:
        try:
            with self._interrupts(self.session.cancel):
                result = answer()
        finally:
            self.screen.end_answer()
        if result.finish_reason == "cancelled":
            self.screen.note(
                "Stopped." if result.token_ids else "Stopped before the answer began; nothing is kept."
            )
        elif result.finish_reason == "length":
            self.screen.note(self._why_length(result))
        if self._shows_stats and result.token_ids:
            self.screen.note(f"[{format_stats(result.stats)}]")

    def _why_length(self, result: GenerationResult) -> str:
        used, limit = len(result.prompt_token_ids) + len(result.token_ids), self.session.model.context_length
        if used >= limit:
            return f"The context is full ({limit} tokens): /undo takes back the last exchange, /clear starts over."
        return (
            f"Stopped at max_new_tokens={self.session.config.max_new_tokens}; /set max_new_tokens raises it."
        )

    def _too_long(self) -> str:
        session = self.session
        limit = session.model.context_length
        if not session.messages:
            return f"this message is longer than the context of {limit} tokens: shorten it"
        return (
            f"with this message the conversation is longer than the context of {limit} tokens: /undo takes back "
            "the last exchange, /clear starts over"
        )

    def _command(self, line: str) -> None:
        name, _, argument = line.strip().partition(" ")
        command = COMMANDS.get(name)
        if command is None:
            hint = did_you_mean(name, COMMANDS) or " /help lists them."
            self.screen.error(
                f'unknown command "{name}".{hint} (A message may begin with "/" after a space.)'
            )
            return
        command.function(self, argument.strip())


def is_open_block(text: str) -> bool:
    '''Whether a text begins a block of several lines that has not ended.

    >>> is_open_block('"""a'), is_open_block('"""a"""'), is_open_block('a"""')
    (True, False, False)
    '''
    stripped = text.strip()
    return stripped.startswith(BLOCK_MARK) and (
        len(stripped) < 2 * len(BLOCK_MARK) or not stripped.endswith(BLOCK_MARK)
    )


def strip_block(text: str) -> str:
    r'''Return a message without the marks of a block and the space around it.

    >>> strip_block('"""a\nb"""'), strip_block(" /a ")
    ('a\nb', '/a')
    '''
    stripped = text.strip()
    if stripped.startswith(BLOCK_MARK):
        stripped = stripped.removeprefix(BLOCK_MARK).removesuffix(BLOCK_MARK).strip("\n")
    return stripped
