"""A plot of each part, measured against arithmetic, as SVG on a white ground; alone in importing matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .parts import Row

__all__ = ["plot"]

STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 10}
"""Text stays text, which is smaller, and the same figures make the same file."""


@dataclass(frozen=True, slots=True)
class _Plot:
    """What a part's plot shows.

    Args:
        x: What its horizontal axis says.
        y: What its vertical one says.
        x_unit: What sizes are divided by.
        y_unit: What is measured is divided by.
        logarithmic: Whether both axes are, so that what is proportional is a straight line.
        is_rate: Whether sizes over seconds are drawn, in place of seconds.
    """

    x: str
    y: str
    x_unit: float = 1
    y_unit: float = 1
    logarithmic: bool = False
    is_rate: bool = False

    def points(self, rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
        """Return what is drawn of the rows' "measured" or "predicted"."""
        costs = [getattr(row, name) for row in rows]
        if self.is_rate:
            costs = [row.size / cost for row, cost in zip(rows, costs, strict=True)]
        return [row.size / self.x_unit for row in rows], [cost / self.y_unit for cost in costs]


_PLOTS: Mapping[str, _Plot] = {
    "decode": _Plot("tokens before", "ms per token", y_unit=1e-3),
    "prompt": _Plot("tokens of the prompt", "seconds", logarithmic=True),
    "batch": _Plot("sequences", "tokens/s of all", is_rate=True),
    "memory": _Plot("tokens of each sequence", "resident, MB", y_unit=1e6, logarithmic=True),
    "load": _Plot("folder, MB", "seconds", x_unit=1e6),
}


def plot(part: str, rows: Sequence[Row], path: Path) -> None:
    """Draw a part; where memory is measured, a line for each number of sequences."""
    kind = _PLOTS[part]
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.4), layout="constrained", facecolor="white")
        axes = figure.subplots()
        counts = sorted({row.slots for row in rows})
        for number, count in enumerate(counts):
            own = [row for row in rows if row.slots == count]
            several = f", {count} {'sequence' if count == 1 else 'sequences'}" if len(counts) > 1 else ""
            axes.plot(
                *kind.points(own, "predicted"),
                color=f"C{number}",
                linestyle="--",
                label="by arithmetic" if number == 0 else None,
            )
            axes.plot(
                *kind.points(own, "measured"),
                color=f"C{number}",
                marker="o",
                markersize=4,
                label=f"measured{several}",
            )
        _finish(axes, kind)
        figure.savefig(path, metadata={"Date": None})


def _finish(axes: Axes, kind: _Plot) -> None:
    axes.set_xlabel(kind.x)
    axes.set_ylabel(kind.y)
    if kind.logarithmic:
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
    else:
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(alpha=0.3)
    axes.legend()
