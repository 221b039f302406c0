"""A constraint that begins when its sequence does something by itself, such as calling a function."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genai.errors import GenerationError
from genai.structured.constraint import GrammarConstraint
from genai.structured.marker_watch import MarkerWatch

__all__ = ["LateConstraint"]


class LateConstraint:
    """Leaves one sequence alone until a marker is complete in it, and keeps it within a grammar from there on.

    It never fails: where what was written is not in the grammar, and where nothing that is in it is allowed, it lets go.

    Args:
        watch: Finds the marker.
        begin: Makes the constraint whose first tokens are those that the marker stands in.
    """

    __slots__ = ("_begin", "_constraint", "_watch", "is_done", "option")

    def __init__(self, watch: MarkerWatch, begin: Callable[[], GrammarConstraint], *, option: str) -> None:
        self._watch = watch
        self._begin = begin
        self._constraint: GrammarConstraint | None = None
        self.option = option
        self.is_done = False

    @property
    def is_waiting(self) -> bool:
        """Whether it only looks at tokens."""
        return self._constraint is None

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Make the logits of what may not follow -inf, unless that leaves none."""
        if self._constraint is None:
            return
        before = logits.copy()
        try:
            self._constraint.apply(logits)
        except GenerationError:
            logits.fill(-np.inf)
        if logits.max() == -np.inf:
            logits[:] = before

    def accept(self, token_id: int) -> None:
        """Learn of the next token of the sequence."""
        if self._constraint is not None:
            self._take(token_id)
        elif tokens := self._watch.accept(token_id):
            self._constraint = self._begin()
            for token in tokens:
                self._take(token)

    def forced_token(self) -> int | None:
        """Return the only token that `apply` would allow, where the grammar forces one; None where there is a choice."""
        return None if self._constraint is None or self.is_done else self._constraint.forced_token()

    def copy(self) -> Self:
        """Return one in the same state that goes its own way."""
        twin = copy.copy(self)
        twin._watch = self._watch.copy()
        twin._constraint = None if self._constraint is None else self._constraint.copy()
        return twin

    def _take(self, token_id: int) -> None:
        assert self._constraint is not None
        try:
            self._constraint.accept(token_id)
        except GenerationError:
            self.is_done = True
        self.is_done = self.is_done or self._constraint.is_over
