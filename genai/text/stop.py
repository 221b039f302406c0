"""Streaming search for stop strings in text that arrives in pieces.

Knows text only: neither tokens nor generation. The answer depends on the text alone, never on how it was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["StopMatcher", "StopResult"]


@dataclass(frozen=True, slots=True)
class StopResult:
    """What one push settled.

    Args:
        emit: Text that can no longer be part of a stop string.
        matched: The stop string that was found; `None` while there is none.
    """

    emit: str
    matched: str | None


class StopMatcher:
    """Find the first stop string in a stream of text.

    The stop string that is complete first wins; of several that are complete at the same character, the longest.
    Text that might still become a stop string is held back, everything else is emitted at once.

    Args:
        stop: Non-empty texts to look for; without any, text passes through unchanged.

    >>> matcher = StopMatcher(["<end>"])
    >>> matcher.push("a < b <en")
    StopResult(emit='a < b ', matched=None)
    >>> matcher.push("d> more")
    StopResult(emit='', matched='<end>')
    """

    __slots__ = ("_held", "_matched", "_max_prefix", "_prefixes", "_stop")

    def __init__(self, stop: Sequence[str]) -> None:
        # Longest first: min() below then prefers it among those that end at the same character.
        self._stop = tuple(sorted(set(stop), key=len, reverse=True))
        self._prefixes = frozenset(text[:n] for text in self._stop for n in range(1, len(text)))
        self._max_prefix = max(map(len, self._prefixes), default=0)
        self._held = ""
        self._matched: str | None = None

    @property
    def matched(self) -> str | None:
        """The stop string that was found, or `None`."""
        return self._matched

    @property
    def held(self) -> str:
        """The text that is held back."""
        return self._held

    def push(self, text: str) -> StopResult:
        """Take the next piece of text and return what is settled; after a match all further text is dropped."""
        if not self._stop:
            return StopResult(text, None)
        if self._matched is not None or not text:
            return StopResult("", self._matched)
        window = self._held + text
        if found := self._find(window):
            self._matched, self._held = found, ""
            return StopResult(window[: window.index(found)], found)
        held = self._count_held(window)
        settled = len(window) - held
        self._held = window[settled:]
        return StopResult(window[:settled], None)

    def finish(self) -> str:
        """Return the text held back, which is no stop string after all."""
        held, self._held = self._held, ""
        return held

    def _find(self, window: str) -> str | None:
        """Return the stop string that is complete first in the window."""
        ends = [(index + len(text), text) for text in self._stop if (index := window.find(text)) >= 0]
        return min(ends, key=lambda end_and_text: end_and_text[0])[1] if ends else None

    def _count_held(self, window: str) -> int:
        """Return the length of the longest suffix that is a proper prefix of a stop string."""
        for size in range(min(self._max_prefix, len(window)), 0, -1):
            if window[-size:] in self._prefixes:
                return size
        return 0
