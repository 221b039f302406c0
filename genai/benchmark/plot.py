"""Plots of decoding speed against what lies before, and of the speed of batches; matplotlib is imported to draw."""

from __future__ import annotations

from pathlib import Path

from genai.benchmark.report import BenchmarkReport, ModelReport

__all__ = ["check_plot", "plot_benchmark"]


def check_plot(path: Path | str) -> None:
    """See that a plot can be drawn there, before anything is measured.

    Raises:
        OptionError: The file's name ends in neither .png nor .svg, or its folder is not there.
        GenaiError: matplotlib is not installed.
    """
    from genai.evaluation.quality import check_plot

    check_plot(path)


def plot_benchmark(report: BenchmarkReport, path: Path | str) -> None:
    """Draw the medians, with their spreads as bars: decoding by length, and batches by size.

    Args:
        report: What was measured.
        path: The file to write, .png or .svg.

    Raises:
        OptionError, GenaiError: As `check_plot`.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    decoding, batches = figure.subplots(1, 2)
    for number, model in enumerate(report.models):
        style = {"label": model.model, "color": f"C{number}", "marker": "o", "capsize": 3}
        for axes, points in ((decoding, _decoding(model)), (batches, _batches(model))):
            sizes = sorted(points)
            medians, spreads = ([points[size][part] for size in sizes] for part in (0, 1))
            axes.errorbar(sizes, medians, yerr=spreads, **style)
    decoding.set_xlabel("tokens before")
    decoding.set_ylabel("decoding, tokens/s")
    batches.set_xlabel("sequences at once")
    batches.set_ylabel("all of them, tokens/s")
    for axes in (decoding, batches):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    decoding.legend()
    figure.savefig(path)


def _decoding(model: ModelReport) -> dict[int, tuple[float, float]]:
    """Return median and spread by the number of tokens before."""
    speeds = {each.prompt_tokens: each.decode_tokens_per_second for each in (*model.prompts, *model.pasts)}
    return {size: (speed.median, speed.spread) for size, speed in speeds.items()}


def _batches(model: ModelReport) -> dict[int, tuple[float, float]]:
    return {
        each.batch: (each.tokens_per_second.median, each.tokens_per_second.spread) for each in model.batches
    }
