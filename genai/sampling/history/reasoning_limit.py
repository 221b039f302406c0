"""An end to reasoning that has gone on for long enough: the token that ends it is forced."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from genai.sampling.processors import Logits

__all__ = ["ReasoningLimit"]


class ReasoningLimit:
    """Forces the token that ends reasoning after so many tokens; a `LogitsProcessor`.

    Reasoning is what an answer begins with, but for white space: a later block is not limited, nor one after other words.

    Args:
        limit: Most tokens of reasoning, its markers not counted.
        begin: The tokens that begin it.
        end: The token that ends it.
        is_open: Whether the prompt has begun it already.
        is_space: Whether a token is white space.
    """

    __slots__ = ("_begin", "_end", "_expected", "_is_over", "_is_space", "_left")
    option = "max_reasoning_tokens"

    def __init__(
        self, limit: int, *, begin: Sequence[int], end: int, is_open: bool, is_space: Callable[[int], bool]
    ) -> None:
        self._left = limit
        self._begin = tuple(begin)
        self._expected = () if is_open else self._begin  # tokens of the beginning that have not come
        self._is_space = is_space
        self._end = end
        self._is_over = False

    @property
    def is_done(self) -> bool:
        """Whether it will change nothing any more."""
        return self._is_over

    def apply(self, logits: Logits) -> None:
        """Forbid everything but the end, once the limit is reached."""
        if not self._is_over and not self._expected and self._left <= 0:
            logits.fill(-np.inf)
            logits[self._end] = 0

    def accept(self, token_id: int) -> None:
        """Learn of the next token of the sequence."""
        if self._expected:
            if token_id == self._expected[0]:
                self._expected = self._expected[1:]
            else:
                self._is_over = self._expected is not self._begin or not self._is_space(token_id)
        elif token_id == self._end:
            self._is_over = True
        else:
            self._left -= 1

    def copy(self) -> Self:
        """Return one with a state of its own."""
        return copy.copy(self)
