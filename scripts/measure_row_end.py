"""Print what the steps after a row of a batch has ended cost, against those before: nothing may be copied at once.

    python scripts/measure_row_end.py [--rows N] [--tokens N] [--layers N] [--work DIR]

Makes a model with the cache of Llama-3.1-8B (32 layers of 8 key/value heads of 128, in float32) and hardly any weights,
so that a step is attention and nothing hides what is copied. Lets rows of so many tokens decode, ends one in the
middle, and compares the median of the steps before with those after it. Needs the `dev` extra (torch, transformers).
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.export import export_model
from genai.folder import ModelFolder
from genai.runtime import Decoder

BEFORE, AFTER = 12, 40


def make_model(work: Path, *, num_layers: int) -> ModelFolder:
    """Return a folder with the cache of Llama-3.1-8B, made once."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = work / f"cache-of-llama-8b-{num_layers}"
    if not folder.exists():
        config = LlamaConfig(
            vocab_size=256,
            hidden_size=128,
            intermediate_size=128,
            num_hidden_layers=num_layers,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
        )
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(work / "checkpoint")
        export_model(work / "checkpoint", folder, precision="int8")
    return ModelFolder.load(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--work", type=Path, default=Path("build/row-end"))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    decoder = Decoder(make_model(arguments.work, num_layers=arguments.layers), max_batch=arguments.rows)
    engine = Engine(decoder)
    random = np.random.default_rng(0)
    ending = arguments.rows // 2
    prompts = random.integers(3, 256, (arguments.rows, arguments.tokens)).tolist()
    requests = [
        Request(prompt, GenerationConfig(max_new_tokens=1000, speculative="off"), stream=True)
        for prompt in prompts
    ]
    for request in requests:
        engine.submit(request)
    while not all(request.pieces for request in requests):
        engine.advance()
    seconds: list[float] = []
    for step in range(BEFORE + AFTER):
        if step == BEFORE:
            requests[ending].is_cancelled = True  # ends at the beginning of the next step
        start = time.perf_counter()
        engine.advance()
        seconds.append(time.perf_counter() - start)
    before, after = statistics.median(seconds[:BEFORE]), seconds[BEFORE:]
    print(f"{arguments.rows} rows of {arguments.tokens} tokens, {decoder.cache.nbytes / 1e9:.1f} GB of cache")
    print(f"step before, median: {before * 1e3:.1f} ms")
    print(f"step at which a row ends: {after[0] * 1e3:.1f} ms, {after[0] / before:.2f} x")
    print(
        f"steps after it: median {statistics.median(after) / before:.2f} x, most {max(after) / before:.2f} x"
    )


if __name__ == "__main__":
    main()
