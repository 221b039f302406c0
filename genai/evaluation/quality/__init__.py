"""How good a model is at text: perplexity, distance from a reference, multiple-choice tasks, and speed beside them.

Where the rest of `genai.evaluation` asks whether a folder is sound, this asks what its weights are worth, above all
what a quantization has cost. It needs nothing but the runtime; a plot needs matplotlib.
"""

from genai.evaluation.quality.comparison import Comparison
from genai.evaluation.quality.corpus import Text, packaged_texts, read_text
from genai.evaluation.quality.evaluate import evaluate_quality, prepare_reference
from genai.evaluation.quality.plot import check_plot, plot_quality
from genai.evaluation.quality.report import QualityReport, TextQuality
from genai.evaluation.quality.tasks import Question, Task, TaskQuality, read_task

__all__ = [
    "Comparison",
    "QualityReport",
    "Question",
    "Task",
    "TaskQuality",
    "Text",
    "TextQuality",
    "check_plot",
    "evaluate_quality",
    "packaged_texts",
    "plot_quality",
    "prepare_reference",
    "read_task",
    "read_text",
]
