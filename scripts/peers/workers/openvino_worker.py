"""OpenVINO GenAI's worker: optimum-intel converts, an LLMPipeline generates."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
from serving import Generation, mean_nll, serve

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


class OpenVinoTool:
    """The option of a conversion is `bits`, that of scoring `exact`: do not round activations."""

    __version__ = openvino_genai.__version__

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        """Export with weights compressed."""
        command = [sys.executable, "-m", "optimum.commands.optimum_cli", "export", "openvino"]
        command += ["--model", source, "--task", "text-generation-with-past"]
        command += ["--weight-format", f"int{options['bits']}"]
        if options["bits"] == 4:
            command += ["--group-size", str(_group_size(source))]
        subprocess.run([*command, target], check=True, stdin=subprocess.DEVNULL)

    def load(self, model: str, *, threads: int, max_tokens: int) -> OpenVinoEngine:
        """Open a pipeline with its defaults."""
        return OpenVinoEngine(openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads))

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        """Score by prompts."""
        properties = EXACT if options.get("exact") else {}
        compiled = openvino.Core().compile_model(f"{model}/openvino_model.xml", "CPU", properties)
        return [mean_nll(_logits(compiled, text), text) for text in texts]


class OpenVinoEngine:
    """A pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def generate(self, prompts: np.ndarray, new_tokens: int) -> Generation:
        """Generate from token ids, so that no tokenizer is asked."""
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = new_tokens
        config.ignore_eos = True
        config.do_sample = False
        inputs = openvino_genai.TokenizedInputs(
            openvino.Tensor(prompts), openvino.Tensor(np.ones_like(prompts))
        )
        start = time.perf_counter()
        results = self._pipeline.generate(inputs, config)
        first_seconds = results.perf_metrics.get_ttft().mean / 1000
        return Generation(start + first_seconds, sum(map(len, results.tokens)))


def _group_size(checkpoint: str) -> int:
    """Return the default of 128, or what divides the matrices' widths."""
    config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
    widths = config["hidden_size"], config["intermediate_size"]
    return next(size for size in (128, 64, 32) if not any(width % size for width in widths))


def _logits(compiled: Any, token_ids: Sequence[int]) -> np.ndarray:
    count = len(token_ids)
    feeds = {
        "input_ids": np.array([token_ids], np.int64),
        "attention_mask": np.ones((1, count), np.int64),
        "position_ids": np.arange(count)[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    logits: np.ndarray = compiled.create_infer_request().infer(feeds)["logits"][0]
    return logits


if __name__ == "__main__":
    serve(OpenVinoTool())
