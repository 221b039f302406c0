"""Streaming search for regular expressions, and stop strings beside them, in text that arrives in pieces.

The first beginning of the text that holds a match ends it, so the answer depends on the text alone, never on how it was
cut. Text that may still become a match is held back: the regex library tells where one could begin.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from genai.errors import GenerationError
from genai.text.stop import StopMatcher, StopResult

if TYPE_CHECKING:
    import regex

__all__ = ["RegexStopMatcher", "find_regex"]

MAX_MATCH = 2000
"""Most characters of a match; what is held back longer is let go."""

CONTEXT = 200
"""Characters before a possible match that its pattern may look back at."""

MAX_SECONDS = 1.0
"""Longest search before a pattern counts as one that runs away."""

MAX_TOTAL_SECONDS = 5.0
"""Longest that all searches of one text may take: others wait for each of them."""


class RegexStopMatcher:
    r"""Find what matches first in a stream of text; as `StopMatcher`, with patterns beside its texts.

    A pattern sees the text so far: `$` and a lookahead mean its end, and so much text is searched after every character.

    Args:
        stop: Texts to look for.
        patterns: Regular expressions, in the syntax of Python's re, or of the regex library.

    >>> matcher = RegexStopMatcher([], [r"\d+%"])
    >>> matcher.push("a 12")
    StopResult(emit='a ', matched=None)
    >>> matcher.push("3% more")
    StopResult(emit='', matched='123%')
    """

    __slots__ = ("_matched", "_patterns", "_seconds_left", "_settled", "_texts", "_window")

    def __init__(self, stop: Sequence[str], patterns: Sequence[str]) -> None:
        self._texts = StopMatcher(stop)
        self._patterns = [_compile(pattern) for pattern in patterns]
        self._seconds_left = MAX_TOTAL_SECONDS
        self._window = ""  # what was emitted last, then what is held back
        self._settled = 0  # how much of it was emitted
        self._matched: str | None = None

    @property
    def matched(self) -> str | None:
        """What was found, or `None`."""
        return self._matched

    def push(self, text: str) -> StopResult:
        """Take the next piece of text and return what is settled; after a match all further text is dropped.

        Raises:
            GenerationError: A pattern takes too long.
        """
        emitted = []
        for character in text:
            if self._matched is not None:
                break
            emitted.append(self._take(character))
        return StopResult("".join(emitted), self._matched)

    def finish(self) -> str:
        """Return the text held back, which is no match after all."""
        held = self._window[self._settled :] if self._matched is None else ""
        self._window, self._settled = "", 0
        return held

    def _take(self, character: str) -> str:
        """Take one character and return what it settles."""
        window = self._window = self._window + character
        found = self._texts.push(character)
        matches: list[tuple[int, int]] = []
        if found.matched is not None:
            matches.append((len(window) - len(found.matched), len(window)))
        first = len(window) - len(self._texts.held)
        for pattern in self._patterns:
            start = time.perf_counter()
            match = _search(pattern, window, self._settled, partial=True, seconds=self._seconds_left)
            self._seconds_left -= time.perf_counter() - start
            if match is None:
                continue
            first = min(first, match.start())
            if not match.partial:
                matches.append(match.span())
        if matches:
            first, end = min(matches)
            self._matched = window[first:end]
            return window[self._settled : first]
        first = max(first, len(window) - MAX_MATCH)
        settled = window[self._settled : first]
        kept = max(first - CONTEXT, 0)
        self._window, self._settled = window[kept:], first - kept
        return settled


def find_regex(patterns: Sequence[str], text: str) -> bool:
    """Whether a text holds a match of any pattern.

    Raises:
        GenerationError: A pattern takes too long.
    """
    return any(_search(_compile(pattern), text, 0, partial=False) for pattern in patterns)


def _search(
    pattern: regex.Pattern[str], text: str, start: int, *, partial: bool, seconds: float = MAX_SECONDS
) -> regex.Match[str] | None:
    timeout = max(min(seconds, MAX_SECONDS), 1e-6)
    try:
        return pattern.search(text, start, partial=partial, timeout=timeout)
    except TimeoutError as error:
        limit = f"{MAX_SECONDS:g} s at once" if timeout == MAX_SECONDS else f"{MAX_TOTAL_SECONDS:g} s in all"
        raise GenerationError(
            f'stop_regex "{pattern.pattern}" takes more than {limit} on the generated text: write it so that it cannot match '
            "the same text in many ways, as (a+)+ does"
        ) from error


@lru_cache(maxsize=64)
def _compile(pattern: str) -> regex.Pattern[str]:
    import regex  # which only these options need

    return regex.compile(pattern)
