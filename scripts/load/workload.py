"""What is asked: requests of several kinds, drawn at random from a seed, and when they arrive.

Knows tokens and times, neither servers nor clients. Prompts are tokens, not texts, so that they have the same length for
every server, whatever its tokenizer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["MIXES", "Ask", "Kind", "Mix", "arrivals", "draw"]

TOKENS = range(100, 1000)
"""What prompts are made of: ordinary tokens of almost every vocabulary."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one length.

    Args:
        name: For people.
        prompt_tokens: Of the prompt, the system prompt among them.
        answer_tokens: Of the answer, exactly.
        weight: How often it comes, relative to the mix's other kinds.
    """

    name: str
    prompt_tokens: int
    answer_tokens: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Mix:
    """What a load is made of.

    Args:
        kinds: The kinds of its requests.
        system_tokens: Length of the beginning that some prompts share.
        system_share: How many of them do, from 0 to 1; those that are shorter do not.
    """

    kinds: Sequence[Kind]
    system_tokens: int = 0
    system_share: float = 0.0

    @property
    def max_tokens(self) -> int:
        """The longest that a prompt and its answer are together."""
        return max(kind.prompt_tokens + kind.answer_tokens for kind in self.kinds)


MIXES: Mapping[str, Mix] = {
    "mixed": Mix(
        (Kind("chat", 200, 150, 6), Kind("long", 1500, 100, 1), Kind("short", 40, 30, 3)),
        system_tokens=100,
        system_share=0.5,
    ),
    "chat": Mix((Kind("chat", 200, 150),), system_tokens=100, system_share=0.5),
    "decode": Mix((Kind("decode", 32, 256),)),
    "tiny": Mix((Kind("tiny", 24, 16, 2), Kind("short", 8, 4)), system_tokens=8, system_share=0.5),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request.

    Args:
        kind: Its kind's name.
        prompt: Its tokens.
        answer_tokens: How many are to be generated.
    """

    kind: str
    prompt: Sequence[int]
    answer_tokens: int


def draw(mix: Mix, *, seed: int) -> Iterator[Ask]:
    """Yield requests without end; the same seed yields the same ones."""
    random = np.random.default_rng(seed)
    weights = np.array([kind.weight for kind in mix.kinds])
    system = _tokens(random, mix.system_tokens)
    while True:
        kind = mix.kinds[int(random.choice(len(weights), p=weights / weights.sum()))]
        begins = system if random.random() < mix.system_share and kind.prompt_tokens > len(system) else []
        prompt = [*begins, *_tokens(random, kind.prompt_tokens - len(begins))]
        yield Ask(kind.name, prompt, kind.answer_tokens)


def arrivals(rate: float, *, seed: int) -> Iterator[float]:
    """Yield the seconds at which requests arrive: a Poisson process of `rate` a second."""
    random = np.random.default_rng([seed, 1])  # whose draws are not those of the requests
    return itertools.accumulate(float(random.exponential(1 / rate)) for _ in itertools.count())


def _tokens(random: np.random.Generator, count: int) -> list[int]:
    return random.integers(TOKENS.start, TOKENS.stop, count).tolist()
