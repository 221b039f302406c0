"""What a load came to: tokens a second, how long clients waited, what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .client import Record
from .generators import Outcome
from .processes import Usage

__all__ = ["Point", "Waits", "summarize"]


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds that clients waited: the median, what one of ten and one of a hundred waited longer than, the longest."""

    p50: float
    p90: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Waits | None:
        """Return those of some waits, `None` if there were none."""
        if not seconds:
            return None
        p50, p90, p99 = np.percentile(seconds, (50, 90, 99))
        return cls(float(p50), float(p90), float(p99), max(seconds))


@dataclass(frozen=True, slots=True)
class Point:
    """A server under one load.

    Args:
        server: Its name.
        load: Arrivals a second, or clients.
        is_closed: Whether the load is a number of clients.
        num_requests: That were due while it counted.
        answer_tokens_per_second: Generated while it counted, whosever they are.
        prompt_tokens_per_second: Of the prompts whose first token came while it counted.
        first: From when a request was due to its first token.
        between: Between two pieces of one answer.
        errors: What went wrong, and how often.
        usage: What it took.
    """

    server: str
    load: float
    is_closed: bool
    num_requests: int
    answer_tokens_per_second: float
    prompt_tokens_per_second: float
    first: Waits | None
    between: Waits | None
    usage: Usage
    errors: Mapping[str, int] = field(default_factory=dict)


def summarize(server: str, load: float, outcome: Outcome) -> Point:
    """Return what a load came to; of requests that were due before it counted, tokens alone."""
    start, end, records = outcome.start, outcome.end, outcome.records
    due = [record for record in records if start <= record.due < end]
    answered = sum(_tokens_within(record, start, end) for record in records)
    read = sum(record.prompt_tokens for record in records if record.times and start <= record.times[0] < end)
    return Point(
        server=server,
        load=load,
        is_closed=outcome.is_closed,
        num_requests=len(due),
        answer_tokens_per_second=answered / (end - start),
        prompt_tokens_per_second=read / (end - start),
        first=Waits.of([record.first_seconds for record in due if record.first_seconds is not None]),
        between=Waits.of([later - earlier for record in due for earlier, later in pairwise(record.times)]),
        usage=outcome.usage,
        errors=Counter(record.error for record in records if record.error is not None),
    )


def _tokens_within(record: Record, start: float, end: float) -> float:
    """Return how many of an answer's tokens came in time, each piece taken for as many as any other."""
    pieces = sum(start <= each < end for each in record.times)
    per_piece = record.answer_tokens / len(record.times) if record.answer_tokens and record.times else 1
    return pieces * per_piece
