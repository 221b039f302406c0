"""Finding markers in a text that arrives in pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["Markers"]


class Markers:
    """Finds the first of some texts, the longest of those that begin at one place."""

    def __init__(self, markers: Sequence[str]) -> None:
        ordered = sorted({marker for marker in markers if marker}, key=lambda marker: (-len(marker), marker))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        firsts = re.escape("".join(sorted({marker[0] for marker in ordered})))
        self._first = re.compile(f"[{firsts}]") if ordered else None
        self._prefixes = frozenset(marker[:n] for marker in ordered for n in range(1, len(marker)))
        self._longest = max(map(len, ordered), default=0)

    def find(self, text: str, *, is_finished: bool) -> tuple[int, str | None]:
        """Return where the first marker begins, and the marker; without one, how much of the text is none for sure."""
        if self._pattern is None:
            return len(text), None
        found = self._pattern.search(text)
        begin = len(text) if is_finished else self._first_possible(text)
        if found is not None and found.start() < begin:
            return found.start(), found[0]
        return begin, None

    def _first_possible(self, text: str) -> int:
        """Return where the longest end of the text begins that may become a marker."""
        assert self._first is not None
        for found in self._first.finditer(text, max(len(text) - self._longest + 1, 0)):
            if text[found.start() :] in self._prefixes:
                return found.start()
        return len(text)
