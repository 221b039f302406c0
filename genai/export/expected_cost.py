"""What recipes cost the real models that they were measured on: the figures of docs/quantization.md and docs/calibration.md.

Nothing is said of a recipe that was not measured, and nothing of other models: a recipe may cost them more or less.
"""

from __future__ import annotations

from collections.abc import Mapping

from genai.config import ExportSettings
from genai.folder import Manifest

__all__ = ["PERPLEXITY_RATIOS", "expected_cost"]

SMOLLM2, GEMMA = "SmolLM2-135M-Instruct", "gemma-3-270m"

PERPLEXITY_RATIOS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("int8", "rtn"): {SMOLLM2: 1.001, GEMMA: 1.000},
    ("int4", "rtn"): {SMOLLM2: 1.035, GEMMA: 1.068},
    ("int4", "awq"): {SMOLLM2: 1.062, GEMMA: 1.061},
    ("int4", "gptq"): {SMOLLM2: 1.034, GEMMA: 1.043},
    ("int4-small", "rtn"): {SMOLLM2: 1.112, GEMMA: 1.201},
}
"""By precision and method: perplexity relative to fp32, the mean of two texts."""

_MEASURED = ("precision", "quantize", "calibration", "max_context", "via")
"""Settings that may differ from their defaults: those that name the recipe, and those that change no weight."""


def expected_cost(manifest: Manifest) -> str | None:
    """Return in one line what a folder's recipe cost where it was measured; `None` if it was not."""
    settings, defaults = manifest.settings, ExportSettings()
    ratios = PERPLEXITY_RATIOS.get((settings.get("precision", ""), settings.get("quantize", "rtn")))
    changed = {
        name
        for name, value in settings.items()
        if name not in _MEASURED and value != getattr(defaults, name, None)
    }
    if ratios is None or changed or manifest.exporter != "native":
        return None
    measured = ", ".join(f"{ratio:.3f} x on {model}" for model, ratio in ratios.items())
    return f"measured perplexity of this recipe relative to fp32, by its weights alone: {measured}"
