"""What an evaluation found of one model, as values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from genai.evaluation.quality.comparison import Comparison
from genai.evaluation.quality.passages import Windows
from genai.evaluation.quality.perplexity import Floats, perplexity_of
from genai.evaluation.quality.tasks import TaskQuality
from genai.folder import MANIFEST_FILE, Manifest
from genai.folder.files import read_json

__all__ = ["QualityReport", "TextQuality"]


@dataclass(frozen=True, slots=True)
class TextQuality:
    """How well a model predicts a text.

    Args:
        name: The text, or "all" for all of them together.
        num_tokens: How many tokens were scored.
        nll: Negative log-likelihood of a token, the mean, in nats.
        perplexity: Its exponential.
        comparison: How far the model is from the reference, if there is one.
    """

    name: str
    num_tokens: int
    nll: float
    perplexity: float
    comparison: Comparison | None = None

    @classmethod
    def of(cls, name: str, nlls: Floats, comparison: Comparison | None = None) -> Self:
        """Return the figures of tokens that were scored."""
        mean = float(nlls.mean())
        return cls(name, nlls.size, mean, perplexity_of(mean), comparison)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What was measured of a model.

    Args:
        model: The name it was evaluated by.
        path: Its folder.
        precision: What its weights are stored in.
        num_bytes: Bytes of its ONNX files and weights.
        provider: The execution provider that ran it.
        reference: The folder that it was compared with; None if there was none.
        windows: How the texts were cut.
        texts: What was measured on every text.
        overall: The same for all their tokens together.
        tasks: What was measured in every task.
        layer_errors: The relative error behind every layer; None where it was not asked for.
        tokens_per_second: Tokens of the texts scored per second, while contexts overlap as `windows` says.
        versions: Versions of the packages that did the work.
        date: Date and time in ISO 8601, UTC.
    """

    model: str
    path: Path
    precision: str
    num_bytes: int
    provider: str
    reference: Path | None
    windows: Windows
    texts: tuple[TextQuality, ...]
    overall: TextQuality
    tasks: tuple[TaskQuality, ...]
    layer_errors: tuple[float, ...] | None
    tokens_per_second: float
    versions: Mapping[str, str]
    date: str

    def to_entry(self) -> dict[str, Any]:
        """Return the report as manifest.json keeps it: the folder may move, and the reference is what its own says."""
        entry = {name: value for name, value in self.to_json().items() if name not in ("model", "path")}
        return entry | {"reference": None if self.reference is None else _describe(self.reference)}

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "model": self.model,
            "path": str(self.path),
            "precision": self.precision,
            "num_bytes": self.num_bytes,
            "provider": self.provider,
            "reference": None if self.reference is None else str(self.reference),
            "windows": asdict(self.windows),
            "texts": [text.to_json() for text in self.texts],
            "overall": self.overall.to_json(),
            "tasks": [task.to_json() for task in self.tasks],
            "layer_errors": None if self.layer_errors is None else list(self.layer_errors),
            "tokens_per_second": self.tokens_per_second,
            "versions": dict(self.versions),
            "date": self.date,
        }


def _describe(folder: Path) -> dict[str, str | None]:
    """Say what a reference is, beyond where it lies on this machine."""
    if not (folder / MANIFEST_FILE).is_file():
        return {"source": folder.name, "revision": None, "precision": "its own precision"}
    manifest = Manifest.from_json(read_json(folder / MANIFEST_FILE))
    return {"source": manifest.source, "revision": manifest.revision, "precision": manifest.precision}
