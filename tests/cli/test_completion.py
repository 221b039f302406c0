"""What Tab makes of the text before the cursor in a conversation."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from genai.cli.chat.terminal import CommandCompleter


def completed(text: str) -> list[str]:
    """Return the texts that a text may become."""
    completions = CommandCompleter().get_completions(Document(text), CompleteEvent())
    return [text[: len(text) + each.start_position] + each.text for each in completions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/lo", ["/load"]),
        ("/set max_new", ["/set max_new_tokens"]),
        ("/set max_new_tokens 5", []),
        ("hello /lo", []),
        ("/system /lo", []),
    ],
)
def test_commands_and_options(text: str, expected: list[str]) -> None:
    assert completed(text) == expected


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a talk.json").touch()
    (tmp_path / "b.json").touch()
    for command in ("/load", "/save"):
        assert completed(f"{command} {tmp_path}/a t") == [f"{command} {tmp_path}/a talk.json"]
    assert completed(f"/system {tmp_path}/a") == []
