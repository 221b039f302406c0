"""A plot of quality against size, one point per model; alone in importing matplotlib, and only when it draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from genai.errors import GenaiError, OptionError
from genai.evaluation.quality.report import QualityReport

__all__ = ["check_plot", "plot_quality"]

SUFFIXES = (".png", ".svg")


def check_plot(path: Path | str) -> None:
    """See that a plot can be drawn there, before hours are spent on measuring.

    Raises:
        OptionError: The file's name ends in neither .png nor .svg, or its folder is not there.
        GenaiError: matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"{path}: a plot's name ends in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise OptionError(f"{path}: there is no folder {path.parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise GenaiError(f"a plot needs matplotlib: pip install matplotlib [{error}]") from error


def plot_quality(reports: Sequence[QualityReport], path: Path | str) -> None:
    """Draw quality against size: the mean divergence from the reference, or without one the perplexity.

    Args:
        reports: What was measured, all of it on the same texts against the same reference.
        path: The file to write, .png or .svg.

    Raises:
        OptionError, GenaiError: As `check_plot`.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for report in reports:
        size, quality = report.num_bytes / 1e6, _quality(report)
        axes.plot(size, quality, "o", color="C0")
        axes.annotate(report.model, (size, quality), xytext=(6, 4), textcoords="offset points")
    is_compared = reports[0].overall.comparison is not None
    axes.set_xlabel("size of the ONNX files and weights, MB")
    axes.set_ylabel("mean KL divergence from the reference, nats" if is_compared else "perplexity")
    axes.margins(y=0.15)
    axes.set_xlim(0, 1.2 * max(report.num_bytes for report in reports) / 1e6)
    if is_compared:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path)


def _quality(report: QualityReport) -> float:
    comparison = report.overall.comparison
    return report.overall.perplexity if comparison is None else comparison.mean_kl
