"""What was measured, for people as tables of Markdown, for programs as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .batch import Batch
from .figures import Point, Waits
from .processes import Usage

__all__ = ["Report", "as_markdown"]

TITLES = (
    "server",
    "requests",
    "tokens/s",
    "prompt tokens/s",
    "first token p50 / p90 / p99, ms",
    "between tokens p50 / p90 / p99, ms",
    "longest gap, ms",
    "peak MB",
    "cores: server, client",
    "errors",
)


@dataclass(frozen=True, slots=True)
class Report:
    """A run, or several put together.

    Args:
        commands: The commands that measured.
        machine: Processor and threads.
        model: What was served.
        mix: What was asked.
        points: Servers under loads.
        batches: genai without a server.
    """

    commands: Sequence[str]
    machine: str
    model: str
    mix: str
    points: Sequence[Point] = ()
    batches: Sequence[Batch] = ()

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read what `save` has written."""
        content = json.loads(path.read_text("utf-8"))
        points = [_point(point) for point in content.pop("points")]
        batches = [Batch(**batch) for batch in content.pop("batches")]
        return cls(**content, points=points, batches=batches)

    @classmethod
    def join(cls, reports: Sequence[Report]) -> Report:
        """Put runs together, in order, described as the first; a server under the same load again takes the place of before."""
        points = {(each.server, each.is_closed, each.load): each for one in reports for each in one.points}
        batches = {each.sequences: each for one in reports for each in one.batches}
        commands = [command for one in reports for command in one.commands]
        return dataclasses.replace(
            reports[0], commands=commands, points=list(points.values()), batches=list(batches.values())
        )


def as_markdown(report: Report) -> str:
    """Return a table for each load, and what share of one batch genai's server reaches."""
    parts = []
    for is_closed in (False, True):
        points = [point for point in report.points if point.is_closed == is_closed]
        for load in sorted({point.load for point in points}):
            own = [point for point in points if point.load == load]
            title = f"{load:g} clients" if is_closed else f"{load:g} requests a second"
            parts.append(f"### {title}\n\n{_table(own)}")
            if is_closed:
                parts += _shares(own, report.batches)
    return "\n\n".join(parts)


def _table(points: Iterable[Point]) -> str:
    return "\n".join([_line(TITLES), "|" + "---|" * len(TITLES), *(_line(_cells(point)) for point in points)])


def _cells(point: Point) -> list[str]:
    between, usage = point.between, point.usage
    return [
        point.server,
        str(point.num_requests),
        f"{point.answer_tokens_per_second:.1f}",
        f"{point.prompt_tokens_per_second:.1f}",
        _waits(point.first),
        _waits(between),
        "–" if between is None else f"{between.longest * 1000:,.0f}",
        "–" if usage.peak_bytes is None else f"{usage.peak_bytes / 1e6:,.0f}",
        f"{'–' if usage.cores is None else f'{usage.cores:.2f}'}, {usage.client_cores:.2f}",
        ", ".join(f"{count} × {error}" for error, count in point.errors.items()) or "0",
    ]


def _shares(points: Sequence[Point], batches: Sequence[Batch]) -> list[str]:
    found = []
    for batch in batches:
        for point in points:
            if point.server.startswith("genai") and point.load == batch.sequences:
                speed = point.answer_tokens_per_second
                found.append(
                    f"{point.server}, served: {speed / batch.tokens_per_second:.0%} of the {batch.tokens_per_second:.1f} "
                    f"tokens/s of one batch with the same prompts and answers, {speed / batch.decode_tokens_per_second:.0%} "
                    f"of the {batch.decode_tokens_per_second:.1f} of its decoding alone."
                )
    return found


def _waits(waits: Waits | None) -> str:
    if waits is None:
        return "–"
    return " / ".join(f"{seconds * 1000:,.0f}" for seconds in (waits.p50, waits.p90, waits.p99))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _point(content: Mapping[str, Any]) -> Point:
    waits = {name: content[name] and Waits(**content[name]) for name in ("first", "between")}
    return Point(**{**content, **waits, "usage": Usage(**content["usage"])})
