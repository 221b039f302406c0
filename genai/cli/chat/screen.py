"""A conversation's output: answers on stdout, everything else on stderr."""

from __future__ import annotations

from typing import Protocol

import typer

from genai.cli.output import print_note, write_text

__all__ = ["Screen", "StandardScreen"]


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


class StandardScreen:
    """Shows a conversation on this process's stdout and stderr."""

    def __init__(self) -> None:
        self._is_at_line_start = True

    def answer(self, text: str) -> None:
        """Show a piece of an answer, at once."""
        if text:
            write_text(text)
            self._is_at_line_start = text.endswith("\n")

    def end_answer(self) -> None:
        """End the answer's last line."""
        if not self._is_at_line_start:
            write_text("\n")
            self._is_at_line_start = True

    def text(self, text: str) -> None:
        """Show what a command was asked for."""
        typer.echo(text, err=True)

    def note(self, text: str) -> None:
        """Show a remark."""
        print_note(text)

    def error(self, text: str) -> None:
        """Show what went wrong."""
        typer.echo(f"error: {text}", err=True)
