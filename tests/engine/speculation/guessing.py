"""Who guesses, and what runs cost, in tests: without a clock, and as right or wrong as a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from genai.engine.sequence import GenerationSequence
from genai.engine.speculation import RunCosts
from genai.model import Span


class FixedCosts(RunCosts):
    """Runs that take 1, and so much more for each further row or token."""

    def __init__(self, *, another_row: float = 0.0, another_token: float = 0.0) -> None:
        super().__init__()
        self._another_row = another_row
        self._another_token = another_token

    @property
    def is_known(self) -> bool:
        return True

    def plain(self, num_rows: int) -> float:
        return 1 + self._another_row * (num_rows - 1) if num_rows else 0.0

    def verification(self, num_tokens: int) -> float:
        return 1 + self._another_token * (num_tokens - 1)

    def of_seconds(self, seconds: float) -> float | None:
        return 1 / 16

    def note(self, spans: Sequence[Span], seconds: float) -> None:
        pass


class Prompter:
    """Guesses what it is told: the answer that a sequence will give, with mistakes.

    Args:
        answer_of: Returns all tokens that will come in a sequence.
        is_wrong: Whether to guess wrong at a place among them.
    """

    chances: Sequence[float] = (0.9,)
    is_free = True
    seconds_per_token: float | None = 0.0

    def __init__(
        self,
        answer_of: Callable[[GenerationSequence], Sequence[int]],
        is_wrong: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._answer_of = answer_of
        self._is_wrong = is_wrong
        self.forgotten: list[GenerationSequence] = []

    def level(self, sequence: GenerationSequence) -> int | None:
        return 0

    def guess(self, counts: Mapping[GenerationSequence, int]) -> dict[GenerationSequence, list[int]]:
        return {sequence: self._guess(sequence, count) for sequence, count in counts.items()}

    def _guess(self, sequence: GenerationSequence, count: int) -> list[int]:
        first = len(sequence.token_ids)
        answer = self._answer_of(sequence)[first : first + count]
        return [
            token_id + 1 if self._is_wrong(place) else token_id
            for place, token_id in enumerate(answer, first)
        ]

    def forget(self, sequence: GenerationSequence) -> None:
        self.forgotten.append(sequence)

    def reset(self) -> None:
        pass
