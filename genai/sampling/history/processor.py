"""What a processor that follows one sequence is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol, Self

from genai.sampling.processors import Logits

__all__ = ["Constraint", "FollowsLatest", "LogitsProcessor", "Stateless"]


class LogitsProcessor(Protocol):
    """A processor that follows one sequence."""

    @property
    def option(self) -> str:
        """The option it carries out, for error messages."""

    @property
    def is_done(self) -> bool:
        """Whether it will change nothing any more."""

    def apply(self, logits: Logits) -> None:
        """Change float32 [vocab] in place."""

    def accept(self, token_id: int) -> None:
        """Learn of the next token of the sequence."""

    def copy(self) -> Self:
        """Return one with a state of its own."""


class Constraint(LogitsProcessor, Protocol):
    """A processor that forbids what must not follow, and sometimes leaves one token."""

    @property
    def is_waiting(self) -> bool:
        """Whether it only learns of tokens so far, and need not see logits."""

    def forced_token(self) -> int | None:
        """Return the only token that it allows next, where it knows that without looking at logits."""


class Stateless:
    """What the processors share that need no history."""

    __slots__ = ()
    is_done = False

    def accept(self, token_id: int) -> None:
        pass

    def copy(self) -> Self:
        return self


class FollowsLatest:
    """What the processors share that look at some of the latest tokens.

    Args:
        num_kept: How many of them.
        prompt_token_ids: The tokens so far.
    """

    __slots__ = ("_latest", "_num_kept")
    is_done = False

    def __init__(self, num_kept: int, prompt_token_ids: Sequence[int]) -> None:
        self._num_kept = num_kept
        self._latest = tuple(prompt_token_ids[-num_kept:]) if num_kept else ()

    def accept(self, token_id: int) -> None:
        if self._num_kept:
            self._latest = (*self._latest, token_id)[-self._num_kept :]

    def copy(self) -> Self:
        return copy.copy(self)

    def _has_latest(self, token_ids: tuple[int, ...]) -> bool:
        """Whether these tokens, no more than are kept, are the latest."""
        return not token_ids or self._latest[-len(token_ids) :] == token_ids
