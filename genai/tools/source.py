"""Text that arrives in pieces, read from the front by generators that pause where it ends.

A read decides on the text alone, never on where it was cut: it yields while more text could change its answer.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeAlias, TypeVar

__all__ = ["ANY_SPACE", "JSON_SPACE", "Damaged", "Reading", "Source"]

_T = TypeVar("_T")
Reading: TypeAlias = Generator[None, None, _T]
"""A read in progress: it yields where it needs more text, and returns what it has read."""

ANY_SPACE = re.compile(r"\s*")
"""What Python takes for white space."""
JSON_SPACE = re.compile(r"[ \t\n\r]*")
"""What JSON has between its parts (RFC 8259)."""

_WORD = re.compile(r"[\w.:/-]*")


class Damaged(Exception):  # noqa: N818 - no error: text that only looked like a call
    """Raised by a read whose text is not what was expected; the position is where that shows."""


class Source:
    """A text, of which the part from `position` on has not been read.

    Attributes:
        text: What came and was not dropped yet.
        position: Where the next read begins, as an index of `text`.
        is_finished: Whether nothing will come any more.
    """

    __slots__ = ("is_finished", "position", "text")

    def __init__(self) -> None:
        self.text = ""
        self.position = 0
        self.is_finished = False

    def drop_read(self) -> None:
        """Forget the text that was read."""
        self.text = self.text[self.position :]
        self.position = 0

    def match(self, literal: str) -> Reading[bool]:
        """Return whether the text goes on with a literal, which is then read."""
        while True:
            ahead = self.text[self.position : self.position + len(literal)]
            if ahead == literal:
                self.position += len(literal)
                return True
            if self.is_finished or not literal.startswith(ahead):
                return False
            yield

    def match_end(self, literal: str) -> Reading[None]:
        """Read a literal that may be missing, or of which only a beginning came before the text ended."""
        yield from self.skip_space()
        if not (yield from self.match(literal)) and literal.startswith(self.text[self.position :]):
            self.position = len(self.text)

    def expect(self, literal: str, *, space: re.Pattern[str] = ANY_SPACE) -> Reading[None]:
        """Read a literal after any space.

        Raises:
            Damaged: Something else is there.
        """
        yield from self.skip_space(space)
        if not (yield from self.match(literal)):
            raise Damaged

    def skip_space(self, space: re.Pattern[str] = ANY_SPACE) -> Reading[None]:
        """Read white space, if there is any."""
        yield from self.read_run(space)

    def unread_space(self, start: int) -> None:
        """Take white space back that was read last, but for what stands before a position."""
        self.position = start + len(self.text[start : self.position].rstrip())

    def read_word(self) -> Reading[str]:
        """Return what can be a name: letters, digits and ``_ . : / -``, as many as follow."""
        return (yield from self.read_run(_WORD))

    def read_run(self, pattern: re.Pattern[str]) -> Reading[str]:
        """Return as much as a pattern of single characters, which may match nothing, takes."""
        start = self.position
        while True:
            found = pattern.match(self.text, self.position)
            assert found is not None
            self.position = found.end()
            if self.position < len(self.text) or self.is_finished:
                return self.text[start : self.position]
            yield

    def read_until(self, literal: str, *, limit: int | None = None) -> Reading[str]:
        """Return the text before a literal, and read both.

        Raises:
            Damaged: The literal does not come, or not within `limit` characters.
        """
        start = searched = self.position
        while True:
            end = self.text.find(literal, searched)
            if limit is not None and (end if end >= 0 else len(self.text) - len(literal)) - start > limit:
                raise Damaged
            if end >= 0:
                self.position = end + len(literal)
                return self.text[start:end]
            if self.is_finished:
                self.position = len(self.text)
                raise Damaged
            searched = max(start, len(self.text) - len(literal) + 1)
            yield

    def peek(self) -> Reading[str]:
        """Return the next character, or nothing where the text has ended."""
        while self.position == len(self.text) and not self.is_finished:
            yield
        return self.text[self.position : self.position + 1]
