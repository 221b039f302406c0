"""The servers against each other as the load grows, as SVG on a white ground; alone in importing matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .figures import Point

__all__ = ["plot"]

STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "load", "font.size": 10}
"""Text stays text, which is smaller, and the same figures make the same file."""

PANELS: Sequence[tuple[str, Callable[[Point], float | None], bool]] = (
    ("tokens/s of all", lambda point: point.answer_tokens_per_second, False),
    ("first token, p50, s", lambda point: point.first and point.first.p50, True),
    ("first token, p99, s", lambda point: point.first and point.first.p99, True),
    ("between tokens, p99, s", lambda point: point.between and point.between.p99, True),
)
"""What a panel's vertical axis says, what it shows, and whether it is logarithmic."""


def plot(points: Sequence[Point], path: Path) -> None:
    """Draw points of one kind of load: all open, or all closed."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8.4, 6), layout="constrained", facecolor="white")
        for axes, (title, value, is_logarithmic) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
            for server in dict.fromkeys(point.server for point in points):
                own = sorted((each for each in points if each.server == server), key=lambda each: each.load)
                shown = [(each.load, value(each)) for each in own if value(each) is not None]
                axes.plot(*zip(*shown, strict=True), marker="o", markersize=4, label=server)
            _finish(axes, title, is_logarithmic=is_logarithmic, is_closed=points[0].is_closed)
        figure.axes[0].legend()
        figure.savefig(path, metadata={"Date": None})


def _finish(axes: Axes, title: str, *, is_logarithmic: bool, is_closed: bool) -> None:
    axes.set_xlabel("clients" if is_closed else "requests a second")
    axes.set_ylabel(title)
    axes.set_xlim(left=0)
    if is_logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
