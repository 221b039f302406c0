"""What was measured, for people as tables of Markdown in a page, for programs as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .parts import Row

__all__ = ["Report", "as_markdown", "write_tables"]


@dataclass(frozen=True, slots=True)
class Report:
    """A run.

    Args:
        command: The command that measured.
        machine: Processor, cores, and number of rounds.
        versions: Of genai and ONNX Runtime.
        model: What was measured.
        parts: The rows of each part.
    """

    command: str
    machine: str
    versions: str
    model: str
    parts: Mapping[str, Sequence[Row]]

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read what `save` has written."""
        document = json.loads(path.read_text("utf-8"))
        parts = {name: [Row(**row) for row in rows] for name, rows in document.pop("parts").items()}
        return cls(**document, parts=parts)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", "utf-8")


@dataclass(frozen=True, slots=True)
class _Column:
    """A title, and what a row shows, given the first row too."""

    title: str
    cell: Callable[[Row, Row], str]


def _slope(row: Row, first: Row) -> str:
    """Return what a token takes longer than in the first row, per 1,000 tokens more."""
    if row.size == first.size:
        return "–"
    return _three_digits(1e6 * (row.measured - first.measured) / (row.size - first.size))


_RATIO = _Column("measured / arithmetic", lambda row, _: f"{row.ratio:.2f}")
_COLUMNS: Mapping[str, Sequence[_Column]] = {
    "decode": (
        _Column("tokens before", lambda row, _: f"{row.size:,}"),
        _Column("ms per token", lambda row, _: _three_digits(1e3 * row.measured)),
        _Column("tokens/s", lambda row, _: _three_digits(1 / row.measured)),
        _Column("ms per 1,000 tokens before", _slope),
        _Column("by arithmetic, ms", lambda row, _: _three_digits(1e3 * row.predicted)),
        _RATIO,
    ),
    "prompt": (
        _Column("prompt, tokens", lambda row, _: f"{row.size:,}"),
        _Column("seconds", lambda row, _: _three_digits(row.measured)),
        _Column("tokens/s", lambda row, _: _three_digits(row.size / row.measured)),
        _Column("by arithmetic, s", lambda row, _: _three_digits(row.predicted)),
        _RATIO,
    ),
    "batch": (
        _Column("sequences", lambda row, _: f"{row.size:,}"),
        _Column("ms per step", lambda row, _: _three_digits(1e3 * row.measured)),
        _Column("tokens/s, all", lambda row, _: _three_digits(row.size / row.measured)),
        _Column("by arithmetic, ms", lambda row, _: _three_digits(1e3 * row.predicted)),
        _RATIO,
    ),
    "memory": (
        _Column("tokens × sequences", lambda row, _: f"{row.size:,} × {row.slots}"),
        _Column("KV cache by arithmetic, MB", lambda row, _: _megabytes(row.held_bytes)),
        _Column("all by arithmetic, MB", lambda row, _: _megabytes(row.predicted)),
        _Column("resident, MB", lambda row, _: _megabytes(row.measured)),
        _Column("peak, MB", lambda row, _: _megabytes(row.peak_bytes)),
        _RATIO,
    ),
    "load": (
        _Column("folder, MB", lambda row, _: _megabytes(row.size)),
        _Column("seconds", lambda row, _: f"{row.measured:.2f}"),
        _Column("by arithmetic, s", lambda row, _: f"{row.predicted:.2f}"),
        _RATIO,
    ),
}


def as_markdown(part: str, rows: Sequence[Row]) -> str:
    """Return a part's table."""
    columns = _COLUMNS[part]
    lines = [[column.title for column in columns], ["---:"] * len(columns)]
    lines += [[column.cell(row, rows[0]) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_tables(page: Path, report: Report) -> None:
    """Put the run, and the tables of what it has measured, between a page's markers.

    Raises:
        ValueError: The page has no place for one.
    """
    text = page.read_text("utf-8")
    run = f"{report.model}; {report.machine}; {report.versions}: `{report.command}`."
    tables = {part: as_markdown(part, rows) for part, rows in report.parts.items()}
    for name, content in {"run": run, **tables}.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            raise ValueError(f"{page}: there is no place between {begin.strip()} and {end}")
        text = f"{before}{begin}{content}\n{end}{after}"
    page.write_text(text, "utf-8")


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _megabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.{0 if num_bytes >= 1e7 else 1}f}"
