"""What takes an answer apart as it comes, whatever it looks for in it: text goes in, what it settles comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from genai.tools.delta import AnswerDelta
from genai.tools.source import Reading, Source

__all__ = ["AnswerReader"]


class AnswerReader(ABC):
    """Takes one answer apart as it comes.

    Attributes:
        _source: Its text.
        _run: The read in progress, which notes what it finds.
    """

    _source: Source
    _run: Reading[None]

    def push(self, text: str) -> AnswerDelta:
        """Take the next piece of the answer and return what it settles."""
        self._source.text += text
        next(self._run, None)
        return self._delta()

    def finish(self) -> AnswerDelta:
        """Return what was held back, now that nothing follows; the reader is then spent."""
        self._source.is_finished = True
        next(self._run, None)
        return self._delta()

    @property
    def is_over(self) -> bool:
        """Whether it wants no more: what follows is no part of the answer."""
        return False

    @abstractmethod
    def _delta(self) -> AnswerDelta:
        """Return what was found since the last call."""
