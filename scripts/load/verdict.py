"""Whether a server has stood a long load: what is checked, and how far it may be off."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .client import Record
from .generators import Outcome

__all__ = ["Check", "Sample", "judge", "judge_memory", "judge_rest"]

MAX_GROWTH = 1.02
"""Of what is resident, from the first fifth of what counts to the last."""
MAX_DRIFT, MAX_DRIFT_SECONDS = 1.5, 0.25
"""Of the median wait for the first token, from the first third to the last: by this factor, or by these seconds. Of so many
requests as come in ten minutes, the longest waits say what arrived together, not how fast the server is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a server had in memory at a time.

    Args:
        time: By `time.perf_counter`.
        resident: Bytes that were resident.
        cached: Bytes of these that keys and values of prompts and answers took, those that are kept for later among them.
    """

    time: float
    resident: int
    cached: int


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Args:
        name: What was looked at.
        is_good: Whether it is as it should be.
        found: What it is.
    """

    name: str
    is_good: bool
    found: str


def judge(outcome: Outcome) -> list[Check]:
    """Look at what became of all requests."""
    records = outcome.records
    kinds = Counter(record.kind for record in records)
    wrong = Counter(f"{each.kind}: {each.error}" for each in records if each.error is not None)
    answers = [record for record in records if record.kind in ("stream", "whole")]
    ends = Counter(record.ends for record in answers)
    early = sum(record.ends for record in records if record.kind not in ("stream", "whole"))
    return [
        Check(
            "every request came to what it should",
            not wrong,
            ", ".join(f"{count} × {text}" for text, count in (wrong or kinds).items()),
        ),
        Check(
            "every answer ended once",
            set(ends) <= {1} and bool(answers),
            f"{ends[1]} of {len(answers)}; {early} more before their clients could leave",
        ),
        _drift([record for record in records if record.kind == "stream"], outcome),
    ]


def judge_memory(samples: Sequence[Sample], *, start: float, end: float) -> Check:
    """Compare what was resident at first with what is at the end, and say how much of each was the cache's."""
    fifth = (end - start) / 5
    early = [each for each in samples if start <= each.time < start + fifth]
    late = [each for each in samples if end - fifth <= each.time < end]
    first, last = (statistics.median(each.resident for each in part) for part in (early, late))
    cached = [statistics.median(each.cached for each in part) / 1e6 for part in (early, late)]
    peak = max(each.resident for each in samples)
    return Check(
        "memory stays",
        last <= first * MAX_GROWTH,
        f"{first / 1e6:,.1f} MB, then {last / 1e6:,.1f} ({last / first - 1:+.1%}), at most {peak / 1e6:,.1f}; of that "
        f"keys and values {cached[0]:,.1f} MB, then {cached[1]:,.1f}",
    )


def judge_rest(gauges: Mapping[str, float]) -> Check:
    """See that a server whose clients are gone has nothing in hand."""
    return Check(
        "nothing is left in hand",
        bool(gauges) and not any(gauges.values()),
        ", ".join(f"{name} {value:g}" for name, value in gauges.items()),
    )


def _drift(streams: Sequence[Record], outcome: Outcome) -> Check:
    third = (outcome.end - outcome.start) / 3
    first = _waits(streams, outcome.start, outcome.start + third)
    last = _waits(streams, outcome.end - third, outcome.end)
    is_good = last[0] <= max(first[0] * MAX_DRIFT, first[0] + MAX_DRIFT_SECONDS)
    found = " then ".join(f"p50 {p50:.2f} s, p99 {p99:.2f} s;" for p50, p99 in (first, last)).rstrip(";")
    return Check("the first token comes as soon as before", is_good, found)


def _waits(records: Sequence[Record], start: float, end: float) -> tuple[float, float]:
    """Return the median wait for the first token, and the p99."""
    waits = [each.first_seconds for each in records if start <= each.due < end and each.times]
    return tuple(np.percentile(waits, (50, 99))) if waits else (math.nan, math.nan)
