"""Reading a conversation from a terminal: history, messages of several lines, completion of commands."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output

from genai.cli.chat.commands import COMMANDS
from genai.cli.chat.repl import Repl, is_open_block
from genai.cli.option_values import OPTION_NAMES

__all__ = ["CommandCompleter", "converse"]

PROMPT, CONTINUATION = ">>> ", "... "
FILE_COMMANDS = ("/load", "/save")


def converse(repl: Repl, *, history_path: Path) -> None:
    """Read and handle lines until the user leaves (Ctrl-D, /bye)."""
    prompt = _make_prompt(_open_history(history_path))
    while True:
        try:
            line = prompt.prompt(PROMPT)
            if not repl.handle(line):
                return
        except KeyboardInterrupt:  # at the prompt: the line is gone, the program stays
            continue
        except EOFError:
            return


def _make_prompt(history: History) -> PromptSession[str]:
    prompt: PromptSession[str] = PromptSession(
        history=history,
        key_bindings=_key_bindings(),
        completer=CommandCompleter(),
        complete_while_typing=False,
        multiline=Condition(lambda: is_open_block(prompt.default_buffer.text)),
        prompt_continuation=CONTINUATION,
        # Answers may go into a pipe (`genai chat | tee`): the prompt goes wherever there is a terminal.
        output=create_output(always_prefer_tty=True),
    )
    return prompt


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("escape", "enter")
    def _insert_newline(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return bindings


def _open_history(path: Path) -> History:
    """Return the history in a file that only the user can read; in memory where no file can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


class CommandCompleter(Completer):
    """Completes the names of commands, of options after /set, and of files after /load and /save."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what the text before the cursor may become."""
        text = document.text_before_cursor
        command, space, typed = text.partition(" ")
        if command in FILE_COMMANDS and space:
            yield from self._paths.get_completions(Document(typed), complete_event)
            return
        if text.startswith("/set ") and text.count(" ") == 1:
            candidates, typed = OPTION_NAMES, text.removeprefix("/set ")
        elif text.startswith("/") and " " not in text:
            candidates, typed = tuple(COMMANDS), text
        else:
            return
        for candidate in candidates:
            if candidate.startswith(typed):
                yield Completion(candidate, start_position=-len(typed))
