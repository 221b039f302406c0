"""What runs take, in runs of one token: of some rows of one token, and of one row of several tokens.

A run reads the weights once, however many tokens it has, so that a further token costs a part of the first. How large a part
is believed at first, and corrected by factors of two where measurements are far from it: what is guessed, and so how kernels
round, shall not hang on every pause of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from genai.engine.speculation.estimate import Estimate
from genai.model import Span

__all__ = ["RunCosts"]

ANOTHER_TOKEN = 0.3
"""What a further token is believed to cost: about that of int4 on a CPU, where several tokens cost most."""
LEAST, MOST = ANOTHER_TOKEN / 16, ANOTHER_TOKEN * 4
TOLERANCE = 1.6
"""What is believed is corrected once measurements are so many times as high or as low."""
LEAST_SINGLE = 2
"""Runs of one token that have to be measured before a cost in seconds is one in runs."""
NUM_NEEDED = 6
"""Measurements since the last correction before there is another."""
PATIENCE = 512
"""After so many steps without a verification, one that was found dear is believed to be cheaper again."""


class RunCosts:
    """Keeps what runs cost, and looks at those of one row whether it is true."""

    def __init__(self) -> None:
        self._another_token = ANOTHER_TOKEN
        self._single = Estimate()
        self._measured = Estimate()
        self._begun: set[int] = set()
        self._num_since_verification = 0

    @property
    def is_known(self) -> bool:
        """Whether it is known what a run of one token takes, in seconds."""
        return self._single.count >= LEAST_SINGLE

    def plain(self, num_rows: int) -> float:
        """Return the cost of a run of so many rows of one token."""
        return 1 + self._another_token * (num_rows - 1) if num_rows else 0.0

    def verification(self, num_tokens: int) -> float:
        """Return the cost of a run of one row of so many tokens."""
        return 1 + self._another_token * (num_tokens - 1)

    def of_seconds(self, seconds: float) -> float | None:
        """Return the cost of what takes so many seconds; None as long as no run was measured."""
        return seconds / max(self._single.value, 1e-9) if self.is_known else None

    def note(self, spans: Sequence[Span], seconds: float) -> None:
        """Take in what a step took that ran these rows, and no prompts."""
        num_tokens = len(spans[0].token_ids)
        is_verification = (
            spans[0].num_logits == num_tokens
        )  # and no forced tokens, of which only the last has logits
        if len(spans) > 1 or not is_verification or self._is_first(num_tokens):
            return
        if num_tokens == 1:
            self._single.note(seconds)
            self._forgive()
        elif self._single.count:
            self._num_since_verification = 0
            single = max(self._single.value, 1e-9)
            self._measured.note(max(seconds / single - 1, 0.0) / (num_tokens - 1))
            self._correct()

    def _is_first(self, num_tokens: int) -> bool:
        """Whether a run is the first of its size, in which memory is set aside."""
        is_first = num_tokens not in self._begun
        self._begun.add(num_tokens)
        return is_first

    def _correct(self) -> None:
        if self._measured.count < NUM_NEEDED:
            return
        measured, believed = self._measured.value, self._another_token
        if measured > TOLERANCE * believed:
            believed = min(2 * believed, MOST)
        elif measured * TOLERANCE < believed:
            believed = max(believed / 2, LEAST)
        if believed != self._another_token:
            self._another_token, self._measured = believed, Estimate()

    def _forgive(self) -> None:
        self._num_since_verification += 1
        if self._num_since_verification >= PATIENCE:
            self._num_since_verification = 0
            if self._another_token > ANOTHER_TOKEN:
                self._another_token, self._measured = self._another_token / 2, Estimate()
