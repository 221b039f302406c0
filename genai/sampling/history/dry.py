"""DRY, step by step: how much of the latest tokens ends at each earlier position is kept, and follows in one pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genai.sampling.processors import Logits, max_dry_exponent

__all__ = ["DryPenalty"]


class DryPenalty:
    """The state of one sequence.

    `_tokens[:_count]` are its tokens. `_matches[i]`, for i below `_count - 1`, is how many tokens up to i equal the
    latest ones: one token more makes it the match before plus one, or none. So a step costs one pass over integers.
    """

    __slots__ = (
        *("_allowed", "_base", "_breakers", "_count", "_last_n", "_matches", "_multiplier", "_since"),
        *("_singles", "_tokens", "_vocab_size"),
    )
    option = "dry_multiplier"
    is_done = False

    def __init__(
        self,
        *,
        multiplier: float,
        base: float,
        allowed_length: int,
        last_n: int | None,
        breakers: Sequence[Sequence[int]],
        prompt_token_ids: Sequence[int],
        vocab_size: int,
    ) -> None:
        self._multiplier, self._base, self._allowed, self._last_n = multiplier, base, allowed_length, last_n
        self._vocab_size = vocab_size
        self._singles = np.array(sorted({b[0] for b in breakers if len(b) == 1}), np.int64)
        self._breakers: dict[int, list[tuple[int, ...]]] = {}
        for breaker in breakers:
            self._breakers.setdefault(breaker[-1], []).append(tuple(breaker[:-1]))
        self._count = len(prompt_token_ids)
        self._tokens = np.zeros(max(256, 2 * self._count), np.int64)
        self._tokens[: self._count] = prompt_token_ids
        self._matches = _matches_of(self._tokens[: self._count], self._tokens.size)
        self._since = self._count
        for end in range(self._count, 0, -1):
            if self._ends_breaker(end):
                self._since = self._count - end
                break

    def apply(self, logits: Logits) -> None:
        window = self._count if self._last_n is None else min(self._count, self._last_n)
        longest = min(self._since, window)
        if longest < self._allowed or window < 2:
            return
        start = self._count - window
        # What the window holds of a match: no more than there is between its beginning and the match's end.
        matches = np.minimum(self._matches[start : self._count - 1], np.arange(1, window, dtype=np.int32))
        ends = np.flatnonzero(matches >= self._allowed)
        if not ends.size:
            return
        followers, group = np.unique(self._tokens[start + 1 + ends], return_inverse=True)
        lengths = np.zeros(followers.size, np.int32)
        np.maximum.at(lengths, group, matches[ends])
        kept = (followers < self._vocab_size) & ~np.isin(followers, self._singles)
        exponents = np.minimum(lengths[kept], longest) - self._allowed
        penalties = self._multiplier * self._base ** np.minimum(exponents, max_dry_exponent(self._base))
        logits[followers[kept]] -= penalties.astype(np.float32)

    def accept(self, token_id: int) -> None:
        count = self._count
        if count == self._tokens.size:
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
            self._matches = np.concatenate([self._matches, np.zeros_like(self._matches)])
        before = self._matches[: count - 1] if count else self._matches[:0]
        longer = np.concatenate([np.zeros(min(count, 1), np.int32), before]) + 1
        self._matches[:count] = np.where(self._tokens[:count] == token_id, longer, 0)
        self._tokens[count] = token_id
        self._count += 1
        self._since = 0 if self._ends_breaker(self._count) else self._since + 1

    def copy(self) -> Self:
        twin = copy.copy(self)
        twin._tokens, twin._matches = self._tokens.copy(), self._matches.copy()
        return twin

    def _ends_breaker(self, end: int) -> bool:
        """Whether a breaker ends before this position."""
        for beginning in self._breakers.get(int(self._tokens[end - 1]), ()):
            start = end - 1 - len(beginning)
            if start >= 0 and tuple(self._tokens[start : end - 1].tolist()) == beginning:
                return True
        return False


def _matches_of(tokens: NDArray[np.int64], size: int) -> NDArray[np.int32]:
    """Return for each position but the last how many tokens up to it equal the latest ones, in an array of this size."""
    matches = np.zeros(size, np.int32)
    ends = np.flatnonzero(tokens[:-1] == tokens[-1]) if tokens.size else np.zeros(0, np.int64)
    length = 1
    while ends.size:
        matches[ends] = length
        ends = ends[ends >= length]
        ends = ends[tokens[ends - length] == tokens[tokens.size - 1 - length]]
        length += 1
    return matches
