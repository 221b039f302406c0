"""What the decision whether to guess asks of whoever guesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from genai.engine.sequence import GenerationSequence

__all__ = ["Drafter"]


class Drafter(Protocol):
    """Guesses how sequences go on."""

    @property
    def chances(self) -> Sequence[float]:
        """By how much speaks for a guess (its level, 0 the least), how likely its next token is believed to be right.

        A guess whose first tokens were right stands a level higher with each.
        """
        ...

    @property
    def is_free(self) -> bool:
        """Whether guesses cost nothing to speak of, so that they can be made only to learn how good they are."""
        ...

    @property
    def seconds_per_token(self) -> float | None:
        """What a token of a guess takes; None before that is known."""
        ...

    def level(self, sequence: GenerationSequence, /) -> int | None:
        """Return how much speaks for a guess; None if there is none."""
        ...

    def guess(
        self, counts: Mapping[GenerationSequence, int], /
    ) -> Mapping[GenerationSequence, Sequence[int]]:
        """Return so many tokens for each of these sequences, or fewer; called after `level`, with the same tokens."""
        ...

    def forget(self, sequence: GenerationSequence, /) -> None:
        """Give up what is kept of a sequence, if anything is."""
        ...

    def reset(self) -> None:
        """Give up everything, whatever state an interruption left it in."""
        ...
