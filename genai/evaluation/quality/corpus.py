"""The texts that a model is measured on: the two that come with the package, or a user's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genai.errors import OptionError
from genai.text import read_utf8

__all__ = ["Text", "packaged_texts", "read_text"]

FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True, slots=True)
class Text:
    """A text to score.

    Args:
        name: What it is called in reports: a file's name.
        content: The text.
    """

    name: str
    content: str


def packaged_texts() -> tuple[Text, ...]:
    """Return the texts that come with the package: plain prose, written for it, about nothing that concerns it."""
    return tuple(read_text(path) for path in sorted(FOLDER.glob("*.txt")))


def read_text(path: Path | str) -> Text:
    """Read a text file.

    Raises:
        OptionError: It is not there, is empty, or is not UTF-8.
    """
    content = read_utf8(path)
    if not content.strip():
        raise OptionError(f"{path} is empty: there is no text to score")
    return Text(Path(path).name, content)
