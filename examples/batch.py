"""Answer several questions in one batch, each with a draw of its own: `python examples/batch.py [MODEL]`."""

import sys

from genai import Generator, Message

QUESTIONS = ["What is ONNX?", "What is top-p?", "What is a token?"]

with Generator(sys.argv[1] if len(sys.argv) > 1 else "demo") as generator:
    prompts = [generator.tokenizer.encode_chat([Message("user", question)]) for question in QUESTIONS]
    results = generator.generate(token_ids=prompts, max_new_tokens=80, temperature=0.5, seed=1)
    for question, result in zip(QUESTIONS, results, strict=True):
        print(
            f"{question}\n  {result.text}\n  ({result.finish_reason}, {result.stats.generated_tokens} tokens)"
        )
