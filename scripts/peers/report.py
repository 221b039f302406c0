"""A comparison for people, as a table of Markdown, and for programs, as values of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .comparison import EQUAL_QUALITY, Row, medians, quality, ratios

__all__ = ["as_json", "as_markdown"]

COLUMNS = {
    "prompt 512": "prompt 512",
    "prompt 2048": "prompt 2048",
    "decode 64": "decode after 64",
    "decode 512": "after 512",
    "decode 2048": "after 2048",
    "batch 8": "eight sequences",
    "first 64": "first token of 64, ms",
    "peak MB": "peak MB",
    "load s": "load s",
    "folder MB": "folder MB",
}
"""What the table shows of the figures, and how it calls them; without a unit, tokens per second."""


def as_markdown(rows: Sequence[Row]) -> str:
    """Return a table; the first row is what the others are compared with."""
    shown = [(key, title) for key, title in COLUMNS.items() if any(key in medians(row) for row in rows)]
    with_perplexity = any(row.perplexities for row in rows)
    titles = ["tokens/s", *(title for _, title in shown), *(["perplexity"] if with_perplexity else [])]
    lines = [_line(titles), "|" + "---|" * len(titles)]
    errors = []
    for row, factor in zip(rows, quality(rows), strict=True):
        found = medians(row)
        against = {} if row is rows[0] else ratios(rows[0], row)
        cells = [_cell(found.get(key), against.get(key)) for key, _ in shown]
        if with_perplexity:
            cells.append(_perplexity(row, factor))
        worse = factor is not None and factor > EQUAL_QUALITY
        lines.append(_line([f"{row.recipe.name} †" if worse else row.recipe.name, *cells]))
        if row.error is not None:
            errors.append(f"{row.recipe.name} failed: {row.error}")
    notes = [
        f"In parentheses: {rows[0].recipe.name} divided by the row, the median of ratios within a round."
    ]
    if with_perplexity:
        notes.append(
            "Perplexity on two texts, relative to the best row of 4 bits; † is worse by more than "
            f"{EQUAL_QUALITY - 1:.0%}, so not of the same quality."
        )
    return "\n".join([*lines, "", " ".join(notes), *errors])


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return everything known of the rows."""
    return [
        {
            "name": row.recipe.name,
            "engine": row.recipe.engine,
            "version": row.version,
            "bits": row.recipe.bits,
            "options": dict(row.recipe.options),
            "median": medians(row),
            "reference_over_row": ratios(rows[0], row),
            "rounds": row.rounds,
            "perplexities": row.perplexities,
            "perplexity_over_best_4_bits": factor,
            "is_worse": factor is not None and factor > EQUAL_QUALITY,
            "error": row.error,
        }
        for row, factor in zip(rows, quality(rows), strict=True)
    ]


def _cell(value: float | None, ratio: float | None) -> str:
    if value is None:
        return "–"
    digits = 0 if value >= 20 else 1 if value >= 2 else 2
    return f"{value:.{digits}f}" + ("" if ratio is None else f" ({ratio:.2f} ×)")


def _perplexity(row: Row, factor: float | None) -> str:
    if not row.perplexities:
        return "–"
    text = " / ".join(f"{value:.2f}" for value in row.perplexities)
    return text if factor is None else f"{text}, {factor:.3f} ×"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
