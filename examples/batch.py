"""Answer several prompts in one batch, each with a draw of its own: `python examples/batch.py [MODEL]`."""

import sys

from genai import Generator

PROMPTS = ["What is ONNX?", "What is top-p?", "What is a token?"]

with Generator(sys.argv[1] if len(sys.argv) > 1 else "demo") as generator:
    for prompt, result in zip(
        PROMPTS, generator.generate(PROMPTS, max_new_tokens=40, temperature=0.5, seed=1), strict=True
    ):
        print(
            f"{prompt}\n  {result.text}\n  ({result.finish_reason}, {result.stats.generated_tokens} tokens)"
        )
