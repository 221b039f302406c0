"""genai's worker: a folder exported with any settings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from serving import Generation, mean_nll, serve

import genai
from genai.calibration import export_calibrated, packaged_text
from genai.config import ExportSettings
from genai.export import carry_out, plan_export


class GenaiTool:
    """Options of a conversion are those of an export."""

    __version__ = genai.__version__

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        """Export."""
        plan = plan_export(Path(source), ExportSettings(**options))
        folder = Path(target) / "model"
        if plan.settings.is_calibrated:
            export_calibrated(plan, folder, text=packaged_text())
        else:
            carry_out(plan, folder)

    def load(self, model: str, *, threads: int, max_tokens: int) -> GenaiEngine:
        """Open a generator."""
        return GenaiEngine(genai.Generator(Path(model) / "model", num_threads=threads))

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        """Score by prompts."""
        with genai.Generator(Path(model) / "model") as generator:
            return [mean_nll(generator.logits(token_ids=text[:-1]), text) for text in texts]


class GenaiEngine:
    """A generator."""

    def __init__(self, generator: genai.Generator) -> None:
        self._generator = generator

    def generate(self, prompts: np.ndarray, new_tokens: int) -> Generation:
        """Generate."""
        start = time.perf_counter()
        results = self._generator.generate(
            token_ids=prompts.tolist(),
            max_new_tokens=new_tokens,
            ignore_eos=True,
            do_sample=False,
            speculative="off",
        )
        first = max(result.stats.time_to_first_token_seconds for result in results)
        return Generation(start + first, sum(len(result.token_ids) for result in results))


if __name__ == "__main__":
    serve(GenaiTool())
