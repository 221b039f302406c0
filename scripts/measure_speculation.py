"""Print what guessing ahead does to the speed of decoding: texts that are new, texts that come again in parts, and a ceiling.

    python scripts/measure_speculation.py MODEL [--draft MODEL] [--new-tokens N] [--rounds N] [--task WORD]

Every task is decoded greedily, plainly and with guesses in turns, after rounds that do not count and leave the prompt in the
cache; a ratio is the median over the rounds of the speed over the plain one, of whole answers. The ceiling is what a drafter would reach that
knows the answer. Tokens that differ from the plain ones are reported: kernels for one and for several tokens may round
differently, and a quantized model makes much of little.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genai import GenerationResult, Generator, Message
from genai.engine import Engine, Speculation
from genai.engine.sequence import GenerationSequence

WARM_UPS = 2
_CODE = '''class Stack:
    """A stack of items, the last one first."""

    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        if not self.items:
            raise IndexError("pop from an empty stack")
        return self.items.pop()

    def peek(self):
        return self.items[-1] if self.items else None

    def __len__(self):
        return len(self.items)
'''
_TEXT = """The lighthouse at Farrow Point was finished in 1861, after nine years of work and the loss of two supply ships. \
Its tower stands 41 metres above the rock and was built of granite blocks that were cut inland, numbered, and fitted \
together on a quay before they were shipped. The first keeper, Ellen Marsh, kept a journal of the weather for thirty-one \
years. The lamp burned colza oil until 1874, then paraffin, and was electrified in 1932. In 1988 the last keeper left, and \
the light has been automatic ever since."""

TASKS: Mapping[str, str] = {
    "new: a story": "Write a short story about a fox who learns to play chess.",
    "new: an explanation": "Explain in detail how photosynthesis works.",
    "new: advice": "How should I prepare for a long hike in the mountains?",
    "copy: edit code": f"Rename the class Stack to Pile and give the whole code again.\n\n```python\n{_CODE}```",
    "copy: repeat a text": f"Repeat the following text word for word.\n\n{_TEXT}",
    "copy: code with a comment": f"Add a comment to the method pop and print the complete code.\n\n```python\n{_CODE}```",
    "copy: answer from a text": f"{_TEXT}\n\nQuote the sentences that say how the tower was built and how the lamp burned.",
}


class Knowing:
    """A drafter that knows the answer."""

    chances: Sequence[float] = (0.99,)
    is_free = True
    seconds_per_token: float | None = 0.0

    def __init__(self) -> None:
        self.answer: Sequence[int] = ()

    def level(self, sequence: GenerationSequence) -> int | None:
        """Return the only level, unless the answer is at its end."""
        return 0 if len(sequence.token_ids) < len(self.answer) else None

    def guess(self, counts: Mapping[GenerationSequence, int]) -> dict[GenerationSequence, Sequence[int]]:
        """Return what will come."""
        return {
            each: self.answer[len(each.token_ids) : len(each.token_ids) + count]
            for each, count in counts.items()
        }

    def forget(self, sequence: GenerationSequence) -> None:
        """Do nothing."""

    def reset(self) -> None:
        """Do nothing."""


def decode(generator: Generator, text: str, num_tokens: int, speculative: str) -> GenerationResult:
    """Answer a text, or continue it where the model has no chat template."""
    options = {
        "max_new_tokens": num_tokens,
        "do_sample": False,
        "speculative": speculative,
    }
    if generator.tokenizer.chat_template is None:
        return generator.generate(text, **options)
    return generator.chat([Message("user", text)], **options)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A task's figures.

    Args:
        plain: The last answer without guesses.
        guessed: The last one with guesses.
        plain_speed: Tokens per second without guesses.
        ratio: How many times as fast it is with guesses.
        ceiling: How many times as fast it is where the answer is known.
    """

    plain: GenerationResult
    guessed: GenerationResult
    plain_speed: float
    ratio: float
    ceiling: float

    def __str__(self) -> str:
        ours, theirs = self.guessed.token_ids, self.plain.token_ids
        same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        stats = self.guessed.stats
        return (
            f"{len(theirs)} tokens, {self.plain_speed:.1f} a second, with guesses {self.ratio:.2f} x, ceiling {self.ceiling:.2f} x, "
            f"{stats.accepted_tokens} of {stats.drafted_tokens} accepted, "
            f"{'the same tokens' if same is None else f'the first {same} tokens the same'}"
        )


def compare(generator: Generator, text: str, who: str, num_tokens: int, rounds: int) -> Comparison:
    """Decode a task in turns."""
    pool, knowing = generator._engine, Knowing()
    (engine,), decoder = pool.engines, generator._decoder
    known = Engine(decoder, speculation=Speculation(decoder, drafters={"ngram": knowing}))
    speeds: dict[str, list[float]] = {"plain": [], "guessed": [], "known": []}
    for each in range(WARM_UPS + rounds):
        plain = decode(generator, text, num_tokens, "off")
        guessed = decode(generator, text, num_tokens, who)
        pool.engines, knowing.answer = (known,), knowing.answer or guessed.token_ids
        best = decode(generator, text, num_tokens, "ngram")
        pool.engines, knowing.answer = (engine,), best.token_ids
        if each >= WARM_UPS:
            for name, result in (("plain", plain), ("guessed", guessed), ("known", best)):
                speeds[name].append(result.stats.generated_tokens / result.stats.total_seconds)
    ratio, ceiling = (
        statistics.median(a / b for a, b in zip(speeds[name], speeds["plain"], strict=True))
        for name in ("guessed", "known")
    )
    return Comparison(plain, guessed, statistics.median(speeds["plain"]), ratio, ceiling)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--draft")
    parser.add_argument("--new-tokens", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--task", default="", help="only tasks whose name has this in it")
    arguments = parser.parse_args()
    who = "draft" if arguments.draft else "ngram"
    with Generator(arguments.model, draft=arguments.draft, max_context=2048) as generator:
        for name, text in TASKS.items():
            if arguments.task in name:
                comparison = compare(generator, text, who, arguments.new_tokens, arguments.rounds)
                print(f"{name:26} {comparison}", flush=True)


if __name__ == "__main__":
    main()
