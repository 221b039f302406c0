"""What a processor that follows one sequence is."""

from __future__ import annotations

from typing import Protocol, Self

from genai.sampling.processors import Logits

__all__ = ["Constraint", "LogitsProcessor", "Stateless"]


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
