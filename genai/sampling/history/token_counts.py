"""How often tokens occurred, among all of a sequence's or among its latest."""

from __future__ import annotations

import copy
from collections import deque
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenCounts"]


class TokenCounts:
    """Counts tokens, and forgets what falls out of the window.

    `_ids[i]` occurred `_counts[i]` times, for i below `len(_places)`; `_places` is its inverse.

    Args:
        vocab_size: Tokens that have no logit are not counted, but take their place in the window.
        last_n: How many of the latest tokens count; `None` is all.

    >>> counts = TokenCounts(10, last_n=2)
    >>> for token_id in (3, 4, 4):
    ...     counts.add(token_id)
    >>> counts.ids.tolist(), counts.counts.tolist()
    ([4], [2])
    """

    __slots__ = ("_counts", "_ids", "_last_n", "_places", "_vocab_size", "_window")

    def __init__(self, vocab_size: int, last_n: int | None = None) -> None:
        self._vocab_size = vocab_size
        self._last_n = last_n
        self._window: deque[int] = deque()
        self._places: dict[int, int] = {}
        self._ids = np.zeros(64, np.int64)
        self._counts = np.zeros(64, np.int64)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The tokens that occurred, each once; a view, in no order."""
        return self._ids[: len(self._places)]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each of `ids` occurred; a view."""
        return self._counts[: len(self._places)]

    def add(self, token_id: int) -> None:
        """Count one token more."""
        if self._last_n is not None:
            self._window.append(token_id)
            if len(self._window) > self._last_n:
                self._forget(self._window.popleft())
        if token_id >= self._vocab_size:
            return
        place = self._places.setdefault(token_id, len(self._places))
        if place == self._ids.size:
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
        self._ids[place] = token_id
        self._counts[place] += 1

    def copy(self) -> Self:
        """Return one with a state of its own."""
        twin = copy.copy(self)
        twin._window, twin._places = self._window.copy(), self._places.copy()
        twin._ids, twin._counts = self._ids.copy(), self._counts.copy()
        return twin

    def _forget(self, token_id: int) -> None:
        """Take back one occurrence; the last of the tokens takes the place of one that occurs no more."""
        if token_id >= self._vocab_size:
            return
        place = self._places[token_id]
        self._counts[place] -= 1
        if self._counts[place] == 0:
            del self._places[token_id]
            last = len(self._places)
            if place < last:
                moved = int(self._ids[last])
                self._ids[place], self._counts[place] = moved, self._counts[last]
                self._places[moved] = place
            self._counts[last] = 0
