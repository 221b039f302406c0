"""transformers' worker, in bfloat16."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from serving import Generation, mean_nll, serve


class TransformersTool:
    """There are no options."""

    __version__ = transformers.__version__

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        """Round a checkpoint; one that is rounded already is linked, so that it takes no place twice."""
        config = transformers.AutoConfig.from_pretrained(source)
        if config.dtype != torch.bfloat16:
            _open(source).save_pretrained(target)
            return
        for path in Path(source).iterdir():
            os.link(path, Path(target) / path.name)

    def load(self, model: str, *, threads: int, max_tokens: int) -> TransformersEngine:
        """Open a checkpoint."""
        torch.set_num_threads(threads)
        return TransformersEngine(_open(model))

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        """Score by prompts."""
        opened = _open(model)
        with torch.inference_mode():
            return [mean_nll(opened(torch.tensor([text])).logits[0].float().numpy(), text) for text in texts]


class TransformersEngine:
    """A model."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def generate(self, prompts: np.ndarray, new_tokens: int) -> Generation:
        """Generate."""
        input_ids = torch.from_numpy(prompts)
        times: list[float] = []

        def note_step(ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            times.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

        output = self._model.generate(
            input_ids,
            attention_mask=torch.ones_like(input_ids),
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
            stopping_criteria=transformers.StoppingCriteriaList([note_step]),
        )
        return Generation(times[0], output.numel() - input_ids.numel())


def _open(checkpoint: str) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()


if __name__ == "__main__":
    serve(TransformersTool())
