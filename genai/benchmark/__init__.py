"""How fast a model is, what share of the machine that is, and where the time goes.

Each model runs in a process of its own, so that its memory and the time to load it are its own, and two models can be
measured in turns.
"""

from genai.benchmark.plot import check_plot, plot_benchmark
from genai.benchmark.report import BenchmarkReport
from genai.benchmark.run import benchmark_model
from genai.benchmark.settings import BenchmarkSettings, OpeningOptions

__all__ = [
    "BenchmarkReport",
    "BenchmarkSettings",
    "OpeningOptions",
    "benchmark_model",
    "check_plot",
    "plot_benchmark",
]
