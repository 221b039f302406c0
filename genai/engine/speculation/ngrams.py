"""Prompt lookup: what followed the last tokens where they occurred before is the guess (Saxena, 2023).

Texts that are edited, quoted or answered from come again in parts, as do code and lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from genai.engine.sequence import GenerationSequence

__all__ = ["NgramDrafter", "NgramIndex"]

SIZES = (4, 2)
"""Of the n-grams that are looked up, the longest first: it is likelier to go on as before."""
MAX_MATCH = 16
MAX_INDEXED = 8192
"""Tokens that are looked up in, the last ones; up to twice as many before the oldest are given up: some 400 bytes each."""
MAX_TAKEN = 2048
"""Tokens of a long prompt that are taken in per step, which the other rows wait for."""


class NgramIndex:
    """Where the last tokens of a growing list have occurred before, the latest place of each n-gram.

    Of a long list the beginning is left out, and what was not taken in yet is not found.

    >>> index, ids = NgramIndex(), [1, 2, 3, 4, 1, 2]
    >>> index.update(ids)
    >>> index.find(ids)
    (2, 2)
    """

    __slots__ = ("_ends", "_num_seen", "_start")

    def __init__(self) -> None:
        self._ends: dict[int, dict[tuple[int, ...], int]] = {size: {} for size in SIZES}
        self._start = self._num_seen = 0

    def update(self, ids: Sequence[int]) -> None:
        """Take in the tokens that have come since, or a part of them, but for n-grams that nothing follows yet."""
        if len(ids) - self._start > 2 * MAX_INDEXED:
            self._ends = {size: {} for size in SIZES}
            self._start = self._num_seen = len(ids) - MAX_INDEXED
        stop = min(len(ids), self._num_seen + MAX_TAKEN)
        for size, ends in self._ends.items():
            for end in range(max(self._num_seen, self._start + size), stop):
                ends[tuple(ids[end - size : end])] = end
        self._num_seen = stop

    def find(self, ids: Sequence[int]) -> tuple[int, int] | None:
        """Return where what followed the last tokens begins, and how many tokens before that place are the last ones."""
        for size, ends in self._ends.items():
            place = ends.get(tuple(ids[-size:]))
            if place is not None:
                length = size
                while length < min(MAX_MATCH, place) and ids[place - 1 - length] == ids[-1 - length]:
                    length += 1
                return place, length
        return None


class NgramDrafter:
    """Guesses by prompt lookup; the level is the length of what was found, beyond the least.

    The chances are about those of SmolLM2-135M-Instruct's answers to the tasks of scripts/measure_speculation.py.
    """

    chances: Sequence[float] = (
        0.4,
        0.55,
        0.6,
        0.7,
        0.8,
        0.8,
        0.85,
        0.85,
        0.88,
        0.88,
        0.9,
        0.9,
        0.92,
        0.92,
        0.95,
    )
    is_free = True
    seconds_per_token: float | None = 0.0

    def __init__(self) -> None:
        self._indices: dict[GenerationSequence, NgramIndex] = {}
        self._places: dict[GenerationSequence, int] = {}

    def level(self, sequence: GenerationSequence) -> int | None:
        """Look up a sequence's last tokens."""
        index = self._indices.get(sequence)
        if index is None:
            index = self._indices[sequence] = NgramIndex()
        index.update(sequence.ids)
        found = index.find(sequence.ids)
        if found is None:
            return None
        self._places[sequence], length = found
        return length - SIZES[-1]

    def guess(self, counts: Mapping[GenerationSequence, int]) -> dict[GenerationSequence, list[int]]:
        """Return what followed at the places that were found; what repeats itself goes on repeating."""
        guesses = {}
        for sequence, count in counts.items():
            place = self._places[sequence]
            tokens = sequence.ids[place : place + count]
            period = len(tokens)
            while len(tokens) < count:
                tokens.append(tokens[-period])
            guesses[sequence] = tokens
        return guesses

    def forget(self, sequence: GenerationSequence) -> None:
        """Give up a sequence's index."""
        self._indices.pop(sequence, None)
        self._places.pop(sequence, None)

    def reset(self) -> None:
        """Give up all indices."""
        self._indices.clear()
        self._places.clear()
