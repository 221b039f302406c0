"""CTranslate2's worker: its converter needs transformers and torch, its generator neither."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from serving import Generation, mean_nll, serve


class CTranslate2Tool:
    """The option of a conversion is `quantization`."""

    __version__ = ctranslate2.__version__

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        """Convert."""
        converter = ctranslate2.converters.TransformersConverter(source)
        converter.convert(target, quantization=options["quantization"], force=True)

    def load(self, model: str, *, threads: int, max_tokens: int) -> CTranslate2Engine:
        """Open a generator."""
        return CTranslate2Engine(model, threads=threads)

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        """Score by prompts."""
        generator = ctranslate2.Generator(model, device="cpu")
        return [mean_nll(np.array(generator.forward_batch([text]))[0], text) for text in texts]


class CTranslate2Engine:
    """A generator, and the names of its tokens, by which it is asked."""

    def __init__(self, model: str, *, threads: int) -> None:
        self._generator = ctranslate2.Generator(model, device="cpu", intra_threads=threads)
        self._names = json.loads((Path(model) / "vocabulary.json").read_text(encoding="utf-8"))

    def generate(self, prompts: np.ndarray, new_tokens: int) -> Generation:
        """Generate."""
        names = [[self._names[token_id] for token_id in prompt] for prompt in prompts]
        times: list[float] = []

        def note_token(_: Any) -> bool:
            times.append(time.perf_counter())
            return False

        results = self._generator.generate_batch(
            names,
            beam_size=1,
            min_length=new_tokens,
            max_length=new_tokens,
            include_prompt_in_result=False,
            callback=note_token,
        )
        # A step calls once for each sequence.
        return Generation(times[len(prompts) - 1], sum(len(each.sequences_ids[0]) for each in results))


if __name__ == "__main__":
    serve(CTranslate2Tool())
