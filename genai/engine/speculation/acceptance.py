"""How often a sequence's guesses have been right, and what is to be expected of the next one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Acceptance"]

TRUST = 4.0
"""How many guesses weigh as much as what was believed at first."""
MEMORY = 0.97
"""What a guess still weighs after the next one of its level."""


class Acceptance:
    """Counts right guesses by level, with older ones weighing less.

    Args:
        chances: How likely a guess of each level is believed to be right at first; what is beyond counts as the last.

    >>> acceptance = Acceptance([0.5])
    >>> acceptance.expected_tokens(0, [1, 2])
    [1.5, 1.75]
    >>> acceptance.note(0, is_right=True)
    >>> acceptance.expected_tokens(0, [2])[0] > 1.75
    True
    """

    __slots__ = ("_num_right", "_num_seen")

    def __init__(self, chances: Sequence[float]) -> None:
        self._num_right = [TRUST * chance for chance in chances]
        self._num_seen = [TRUST] * len(chances)

    def note(self, level: int, *, is_right: bool) -> None:
        """Count a guess of a token."""
        level = min(level, len(self._num_seen) - 1)
        self._num_right[level] = MEMORY * self._num_right[level] + is_right
        self._num_seen[level] = MEMORY * self._num_seen[level] + 1

    def expected_tokens(self, level: int, counts: Sequence[int]) -> list[float]:
        """Return how many tokens a run gives on average that looks at a guess of so many, for ascending numbers."""
        expected = chance = 1.0
        top, place = len(self._num_seen) - 1, 0
        found = []
        for count in counts:
            while place < count:
                at = min(level + place, top)
                chance *= self._num_right[at] / self._num_seen[at]
                expected += chance
                place += 1
            found.append(expected)
        return found
