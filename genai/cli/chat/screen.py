"""A conversation's output: answers on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from typing import Protocol

import typer

from genai.cli.output import is_terminal, print_note, write_text, write_thought

__all__ = ["Screen", "StandardScreen"]


class Screen(Protocol):
    """Where a conversation is shown."""

    def answer(self, text: str) -> None:
        """Show a piece of an answer, at once."""
        ...

    def reasoning(self, text: str) -> None:
        """Show a piece of what is thought before an answer, at once."""
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


class StandardScreen:
    """Shows a conversation on this process's stdout and stderr.

    Args:
        shows_reasoning: Whether a person who watches is to see what the model thinks.
    """

    def __init__(self, *, shows_reasoning: bool = True) -> None:
        self._shows_reasoning = shows_reasoning and is_terminal(sys.stderr)
        self._is_at_line_start = True
        self._is_reasoning = False

    def reasoning(self, text: str) -> None:
        """Show a piece of what is thought before an answer: receding, and on stderr, for it is no result."""
        if text and self._shows_reasoning:
            write_thought(text)
            self._is_reasoning = True

    def answer(self, text: str) -> None:
        """Show a piece of an answer, at once."""
        if text:
            self._end_reasoning()
            write_text(text)
            self._is_at_line_start = text.endswith("\n")

    def end_answer(self) -> None:
        """End the answer's last line."""
        self._end_reasoning()
        if not self._is_at_line_start:
            write_text("\n")
            self._is_at_line_start = True

    def _end_reasoning(self) -> None:
        if self._is_reasoning:
            write_thought("\n\n")
            self._is_reasoning = False

    def text(self, text: str) -> None:
        """Show what a command was asked for."""
        typer.echo(text, err=True)

    def note(self, text: str) -> None:
        """Show a remark."""
        print_note(text)

    def error(self, text: str) -> None:
        """Show what went wrong."""
        typer.echo(f"error: {text}", err=True)
