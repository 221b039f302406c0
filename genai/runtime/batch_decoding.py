"""Decoding steps where two graphs can take them: few rows by the one that reads few bits a weight, many by the other.

Weights of 4 bits are read fast, but every row pays for unpacking them; those of 8 bits (`eight_bit_graph.py`) take twice the
reading, and hardly more for each row. From how many rows on they are faster depends on the processor's speed and that of its
memory. So the first step of `TRIED_ROWS` rows is computed by both, a few times, before its tokens are taken from either:
what decides is the same for all that comes after, and no token depends on how long another one took.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from genai.cache import Slot
from genai.errors import GenerationError
from genai.model import Span, StepOutput
from genai.runtime.decoding import Decoding
from genai.runtime.eight_bit_head import EightBitHead

__all__ = ["LEAST_ROWS", "BatchDecoding"]

logger = logging.getLogger("genai.runtime")

TRIED_ROWS = (6, 16)
"""Rows of the steps that are tried; the graph in 8 bits decodes from the first number on at which it is worth it."""
LEAST_ROWS = TRIED_ROWS[0]
WORTHWHILE = 1.1
"""How many times as fast it has to be: what it rounds is coarser."""
NUM_TRIALS, ENOUGH_SECONDS = 3, 0.5
"""Trials of each graph, of which the fastest counts; fewer where they take long, since others wait."""


class BatchDecoding:
    """Runs decoding steps by one of two graphs over the same cache.

    Args:
        few: By the graph for few rows.
        many: By the one for many, which gives hidden states.
        head: What makes logits of these.
        max_rows: Most rows of a step.
    """

    def __init__(self, few: Decoding, many: Decoding, head: EightBitHead, *, max_rows: int) -> None:
        self._few, self._many, self._head = few, many, head
        self._max_rows = max_rows
        self._untried = [num_rows for num_rows in TRIED_ROWS if num_rows <= max_rows]
        self._is_open = False
        self._least_rows: int | None = None

    @property
    def num_untried_rows(self) -> int:
        """Rows of the largest step that would begin with a trial; 0 if none would."""
        return self._untried[-1] if self._untried and self._least_rows is None else 0

    def step(self, spans: Sequence[Span], *, is_alone: bool) -> StepOutput:
        """Append one token to each slot, as `Decoding.step` does."""
        while self._least_rows is None and self._untried and len(spans) >= self._untried[0]:
            self._try([span.slot for span in spans[: self._untried.pop(0)]])
        if self._least_rows is None or len(spans) < self._least_rows:
            return self._few.step(spans, is_alone=is_alone)
        output = self._many.step(spans, is_alone=is_alone)
        return StepOutput.of(self._head.logits_of(output.logits), output.starts)

    def _try(self, slots: Sequence[Slot]) -> None:
        """See whether so many rows are worth the other graph."""
        try:
            if not self._is_open:
                self._head.open(max_rows=self._max_rows)
                self._is_open = True
        except GenerationError as error:
            logger.warning("%s", error)
            self._untried.clear()
            return

        def by_many() -> None:
            self._head.logits_of(self._many.rehearse(slots).logits)

        few, many = _seconds(lambda: self._few.rehearse(slots)), _seconds(by_many)
        if few >= WORTHWHILE * many:
            self._least_rows = len(slots)
        logger.debug(
            "%d rows: %.1f ms by the graph for tokens, %.1f ms in 8 bits", len(slots), 1e3 * few, 1e3 * many
        )


def _seconds(run: Callable[[], object]) -> float:
    """Return how long something takes."""
    seconds: list[float] = []
    while len(seconds) < NUM_TRIALS and sum(seconds) < ENOUGH_SECONDS:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
