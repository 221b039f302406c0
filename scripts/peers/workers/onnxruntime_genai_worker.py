"""onnxruntime-genai's worker: its builder (which needs torch and transformers) and its generation loop."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime_genai
from serving import Generation, mean_nll, serve


class OnnxRuntimeGenaiTool:
    """Options of a conversion are the builder's extra options, and `precision`."""

    __version__ = onnxruntime_genai.__version__

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        """Build a folder for the CPU."""
        extra = [f"{name}={value}" for name, value in options.items() if name != "precision"]
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", source, "-i", source]
        command += ["-o", target, "-p", options["precision"], "-e", "cpu", "-c", f"{target}/cache"]
        command += ["--extra_options", *extra] if extra else []
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def load(self, model: str, *, threads: int, max_tokens: int) -> OnnxRuntimeGenaiEngine:
        """Open a model."""
        config = onnxruntime_genai.Config(model)
        session = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        return OnnxRuntimeGenaiEngine(onnxruntime_genai.Model(config))

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        """Score a token at a time, as logits of a prompt are those of its last token."""
        engine = OnnxRuntimeGenaiEngine(onnxruntime_genai.Model(model))
        return [mean_nll(engine.logits(text), text) for text in texts]


class OnnxRuntimeGenaiEngine:
    """A model."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def generate(self, prompts: np.ndarray, new_tokens: int) -> Generation:
        """Generate a step at a time."""
        generator = self._generator(len(prompts), prompts.shape[1] + new_tokens)
        generator.append_tokens(prompts.astype(np.int32))
        generator.generate_next_token()
        first_at = time.perf_counter()
        for _ in range(new_tokens - 1):
            generator.generate_next_token()
        return Generation(first_at, generator.token_count() * len(prompts) - prompts.size)

    def logits(self, token_ids: Sequence[int]) -> np.ndarray:
        """Return what the model expects after each token but the last, float32 [len(token_ids) - 1, vocab]."""
        generator = self._generator(1, len(token_ids))
        rows = []
        for token_id in token_ids[:-1]:
            generator.append_tokens(np.array([[token_id]], np.int32))
            rows.append(np.array(generator.get_logits(), np.float32)[0, -1])
        return np.stack(rows)

    def _generator(self, num_sequences: int, length: int) -> Any:
        params = onnxruntime_genai.GeneratorParams(self._model)
        params.set_search_options(
            do_sample=False, min_length=length, max_length=length, batch_size=num_sequences
        )
        return onnxruntime_genai.Generator(self._model, params)


if __name__ == "__main__":
    serve(OnnxRuntimeGenaiTool())
