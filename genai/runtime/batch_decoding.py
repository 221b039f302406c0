"""Decoding steps where two graphs can take them: few rows by the one that reads few bits a weight, many by the other.

Weights of 4 bits are read fast, but every row pays for unpacking them; those of 8 bits (`eight_bit_graph.py`) take twice the
reading, and hardly more for each row. From how many rows on they are faster depends on the processor's speed and that of its
memory. So the first step of `TRIED_ROWS` rows is computed by both, a few times, before its tokens are taken from either:
what decides is the same for all that comes after, and no token depends on how long another one took.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from genai.cache import Slot
from genai.model import Span, StepOutput
from genai.runtime.decoding import Decoding

__all__ = ["LEAST_ROWS", "BatchDecoding"]

logger = logging.getLogger("genai.runtime")

TRIED_ROWS = (6, 16)
"""Rows of the steps that are tried; the graph in 8 bits decodes from the first number on at which it is worth it."""
LEAST_ROWS = TRIED_ROWS[0]
WORTHWHILE = 1.1
"""How many times as fast it has to be: what it rounds is coarser."""
NUM_TRIALS = 2
"""Of each graph, after one that warms up; the faster one counts."""


class BatchDecoding:
    """Runs decoding steps by one of two graphs over the same cache.

    Args:
        few: By the graph for few rows.
        many: By the one for many.
    """

    def __init__(self, few: Decoding, many: Decoding) -> None:
        self._few, self._many = few, many
        self._untried = list(TRIED_ROWS)
        self._least_rows: int | None = None

    def step(self, spans: Sequence[Span], *, is_alone: bool) -> StepOutput:
        """Append one token to each slot, as `Decoding.step` does."""
        if self._least_rows is None and self._untried and len(spans) >= self._untried[0]:
            self._try([span.slot for span in spans])
        is_many = self._least_rows is not None and len(spans) >= self._least_rows
        return (self._many if is_many else self._few).step(spans, is_alone=is_alone)

    def _try(self, slots: Sequence[Slot]) -> None:
        """See whether many rows are worth the other graph, for each number that there are rows for."""
        while self._least_rows is None and self._untried and len(slots) >= self._untried[0]:
            num_rows = self._untried.pop(0)
            few, many = (_seconds(decoding, slots[:num_rows]) for decoding in (self._few, self._many))
            if few >= WORTHWHILE * many:
                self._least_rows = num_rows
            logger.debug(
                "%d rows: %.1f ms by the graph for tokens, %.1f ms in 8 bits", num_rows, 1e3 * few, 1e3 * many
            )


def _seconds(decoding: Decoding, slots: Sequence[Slot]) -> float:
    decoding.rehearse(slots)
    seconds = []
    for _ in range(NUM_TRIALS):
        start = time.perf_counter()
        decoding.rehearse(slots)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
