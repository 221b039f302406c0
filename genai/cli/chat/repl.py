"""The loop's body: one line of input becomes a question or a command. It reads no terminal."""

from __future__ import annotations

from genai.cli.chat.commands import COMMANDS, Leave
from genai.cli.chat.presenter import Presenter
from genai.errors import GenaiError, did_you_mean

__all__ = ["BLOCK_MARK", "Repl", "is_open_block", "strip_block"]

BLOCK_MARK = '"""'
WORDS_TO_LEAVE = ("exit", "quit")
"""Alone on a line they are no message, unless a space stands before them."""


class Repl:
    """A conversation driven line by line.

    Args:
        presenter: Answers, and carries out commands.
    """

    def __init__(self, presenter: Presenter) -> None:
        self._presenter = presenter

    def handle(self, line: str) -> bool:
        """Do what a line says; return whether the conversation goes on."""
        try:
            if line.startswith("/"):
                self._command(line)
            elif line.rstrip() in WORDS_TO_LEAVE:
                raise Leave
            elif text := strip_block(line):
                self._presenter.ask(text)
        except Leave:
            return False
        except GenaiError as error:
            self._presenter.screen.error(str(error))
        return True

    def _command(self, line: str) -> None:
        name, _, argument = line.strip().partition(" ")
        command = COMMANDS.get(name)
        if command is None:
            hint = did_you_mean(name, COMMANDS) or " /help lists them."
            self._presenter.screen.error(
                f'unknown command "{name}".{hint} (A message may begin with "/" after a space.)'
            )
            return
        command.function(self._presenter, argument.strip())


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
