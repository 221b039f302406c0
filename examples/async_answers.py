"""Many callers, one batch: `python examples/async_answers.py [MODEL]`."""

import asyncio
import sys

from genai import Generator, Message

QUESTIONS = ["Hello", "What is int4?", "How do I export a model?", "What is a tokenizer?"]


async def main() -> None:
    """Ask all questions at once and print the answers in order."""
    with Generator(sys.argv[1] if len(sys.argv) > 1 else "demo") as generator:
        answers = await asyncio.gather(
            *(generator.achat([Message("user", question)], max_new_tokens=80) for question in QUESTIONS)
        )
        for question, answer in zip(QUESTIONS, answers, strict=True):
            print(f"{question}\n  {answer.text}")


asyncio.run(main())
