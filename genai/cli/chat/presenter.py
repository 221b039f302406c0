"""A conversation on a screen: answers as they come, what they cost, and what to do where one ends early."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from genai.cli.chat.screen import Screen
from genai.cli.chat.session import Session
from genai.cli.interrupts import interrupts_call
from genai.cli.output import format_calls, format_carried_out, format_stats
from genai.errors import ChatTemplateError, OptionError

if TYPE_CHECKING:
    from genai.engine import GenerationResult

__all__ = ["Presenter"]

WAYS_ON = "/undo takes back the last exchange, /clear starts over, /set context_policy truncate_turns leaves out the oldest turns"


class Presenter:
    """Shows a session's answers.

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
        session.show_reasoning = screen.reasoning

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
        """Show another answer to the last message, if there can be another one."""
        if self.session.would_repeat:
            self.screen.note("Greedy decoding gives the same answer again; /set temperature 0.8 for others.")
        else:
            self._show(lambda: self.session.regenerate(self.screen.answer))

    def _show(self, answer: Callable[[], GenerationResult]) -> None:
        try:
            with self._interrupts(self.session.cancel):
                result = answer()
        finally:
            self.screen.end_answer()
        for line in format_calls(result.tool_calls):
            self.screen.answer(f"{line}\n")
        for line in format_carried_out(result.messages):
            self.screen.note(line)
        if result.finish_reason == "cancelled":
            self.screen.note(
                "Stopped." if result.token_ids else "Stopped before the answer began; nothing is kept."
            )
        elif result.finish_reason == "length":
            if (call := result.cut_call) is not None:
                self.screen.note(f"The call {call.name}({call.arguments_json} is not complete.")
            self.screen.note(self._why_length(result))
        if self._shows_stats and result.token_ids:
            self.screen.note(f"[{format_stats(result.stats)}]")

    def _why_length(self, result: GenerationResult) -> str:
        used, limit = len(result.prompt_token_ids) + len(result.token_ids), self.session.model.context_length
        if used >= limit:
            return f"The context is full ({limit} tokens): {WAYS_ON}."
        return (
            f"Stopped at max_new_tokens={self.session.config.max_new_tokens}; /set max_new_tokens raises it."
        )

    def _too_long(self) -> str:
        session = self.session
        limit = session.model.context_length
        if not session.messages:
            return f"this message is longer than the context of {limit} tokens: shorten it"
        return f"with this message the conversation is longer than the context of {limit} tokens: {WAYS_ON}"
