"""An end to reasoning that has gone on for long enough: the token that ends it is forced."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np

from genai.sampling.processors import Logits

__all__ = ["ReasoningLimit"]


class ReasoningLimit:
    """Forces the token that ends reasoning after so many tokens; a `LogitsProcessor`.

    Reasoning is what an answer begins with: a later block is not limited, nor one after other words.

    Args:
        limit: Most tokens of reasoning, its markers not counted.
        begin: The tokens that begin it.
        end: The token that ends it.
        is_open: Whether the prompt has begun it already.
    """

    __slots__ = ("_end", "_expected", "_is_over", "_left")
    option = "max_reasoning_tokens"

    def __init__(self, limit: int, *, begin: Sequence[int], end: int, is_open: bool) -> None:
        self._left = limit
        self._expected = () if is_open else tuple(begin)  # tokens of the beginning that have not come
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
            self._is_over = token_id != self._expected[0]
            self._expected = self._expected[1:]
        elif token_id == self._end:
            self._is_over = True
        else:
            self._left -= 1

    def copy(self) -> Self:
        """Return one with a state of its own."""
        return copy.copy(self)
