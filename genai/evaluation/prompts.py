"""What a folder is asked to continue: a few texts through its tokenizer, or fixed token ids where it has none."""

from __future__ import annotations

import numpy as np

from genai.text import Tokenizer

__all__ = ["TEXTS", "make_prompts"]

TEXTS = (
    "The capital of France is",
    "In 1969, three astronauts flew to the Moon. The first of them to step out of the lander was Neil Armstrong, who "
    "said that it was one small step for a man, but one giant leap for mankind. A few minutes later, the second",
    "def fibonacci(n: int) -> int:\n    if n < 2:\n        return n\n    return",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 東京は日本の首都です。 12 + 30 = 42, and 7 * 8 =",
)

CUT = 5
"""How many tokens shorter a long prompt is cut than the one before it, or a batch of them would try equal lengths only."""

_RANDOM_LENGTHS = (5, 48, 23, 34)


def make_prompts(tokenizer: Tokenizer | None, *, vocab_size: int, max_tokens: int) -> list[list[int]]:
    """Return prompts as token ids, each of at least one and at most `max_tokens`; those cut there differ in length, too.

    The ids are fixed, not taken from texts, if there is no tokenizer or it belongs to another model.
    """
    prompts = tokenizer.encode_batch(TEXTS) if tokenizer is not None else []
    if not prompts or any(not prompt or max(prompt) >= vocab_size for prompt in prompts):
        random = np.random.default_rng(0)
        prompts = [random.integers(0, vocab_size, length).tolist() for length in _RANDOM_LENGTHS]
    return [prompt[: max(1, max_tokens - CUT * index)] for index, prompt in enumerate(prompts)]
