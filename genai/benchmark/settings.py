"""What is measured, how often, and how the models are opened for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from genai.config import RunOptions
from genai.errors import OptionError

__all__ = ["BATCH_PROMPT_TOKENS", "HOST_PROMPT_TOKENS", "BenchmarkSettings", "OpeningOptions"]

DEFAULT_PROMPT_TOKENS = (64, 512, 2048)
BATCH_PROMPT_TOKENS = 64
"""Tokens of each prompt of a batch."""
HOST_PROMPT_TOKENS = 8
"""Tokens before the steps whose Python part is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSettings:
    """What is measured, and how often.

    Args:
        prompt_tokens: Lengths of prompts that are read, and decoded after; None takes those of 64, 512 and 2048 that the
            context has room for.
        past: Lengths after which only decoding is measured: what lies before is read once and stays in the cache.
        new_tokens: Tokens that each prompt is continued with; at least 2, since the first belongs to the prompt.
        batch: How many prompts of 64 tokens are continued together.
        repeats: How often everything is measured.
        warmup: How often it runs before that.
        profile: Whether to look into a prompt and a decoding step operator by operator.
        limits: Whether to measure what the machine can do at most.

    Raises:
        OptionError: A value is impossible.
    """

    prompt_tokens: Sequence[int] | None = None
    past: Sequence[int] = ()
    new_tokens: int = 64
    batch: Sequence[int] = (1, 4, 8)
    repeats: int = 5
    warmup: int = 1
    profile: bool = True
    limits: bool = True

    def __post_init__(self) -> None:
        for name, least in (("new_tokens", 2), ("repeats", 1), ("warmup", 0)):
            _check_number(name, getattr(self, name), least)
        for name in ("prompt_tokens", "past", "batch"):
            values = getattr(self, name)
            if values is not None and (isinstance(values, str) or not isinstance(values, Sequence)):
                raise OptionError(f"{name} must be a list of numbers, not {values!r}")
            for value in values or ():
                _check_number(name, value, 1)
        if not (self.prompt_tokens is None or self.prompt_tokens or self.past or self.batch):
            raise OptionError("nothing to measure: prompt_tokens, past and batch are all empty")

    def fit(self, context_length: int) -> tuple[BenchmarkSettings, tuple[str, ...]]:
        """Return the settings with the lengths that a context has room for, and what had to be left out.

        Raises:
            OptionError: A length that was asked for does not fit.
        """
        notes = []
        lengths = list(DEFAULT_PROMPT_TOKENS if self.prompt_tokens is None else self.prompt_tokens)
        if self.prompt_tokens is None:
            too_long = [length for length in lengths if length + self.new_tokens > context_length]
            lengths = [length for length in lengths if length not in too_long]
            if too_long:
                left_out = " and ".join(map(str, too_long))
                notes.append(
                    f"prompts of {left_out} tokens are left out: with {self.new_tokens} new ones they do not fit the "
                    f"context of {context_length}"
                )
        batches = [BATCH_PROMPT_TOKENS] if self.batch else []
        for length in (*lengths, *self.past, *batches, HOST_PROMPT_TOKENS):
            if length + self.new_tokens > context_length:
                raise OptionError(
                    f"a prompt of {length} tokens and {self.new_tokens} new ones do not fit the context of "
                    f"{context_length} tokens: choose fewer (prompt_tokens, past, new_tokens), or no batch"
                )
        return dataclasses.replace(self, prompt_tokens=tuple(lengths)), tuple(notes)


class OpeningOptions(RunOptions, total=False):
    """How the models are opened: `Generator`'s options of these names."""

    max_context: int | None


def _check_number(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} must be a whole number of at least {least}, not {value!r}")
