"""Mirostat 2 (Basu et al., 2021): draws whose surprise stays near a target.

Only tokens of at most a certain surprise are drawn. That limit begins at twice the target and follows what was drawn:
too surprising a token lowers it, an expected one raises it.
"""

from __future__ import annotations

import copy
import math
from typing import Self

import numpy as np

from genai.sampling.processors import Logits
from genai.sampling.selection import draw_index, keep_surprise

__all__ = ["Mirostat"]


class Mirostat:
    """The limit of one sequence, in bits.

    Args:
        tau: The target.
        eta: What share of each error the limit is corrected by.

    >>> mirostat = Mirostat(tau=1.0, eta=0.5)
    >>> mirostat.choose(np.zeros(4, np.float32), 0.9)
    3
    >>> mirostat.accept(3)
    >>> mirostat.limit
    1.5
    """

    __slots__ = ("_chosen", "_eta", "_surprise", "_tau", "limit")

    def __init__(self, tau: float, eta: float) -> None:
        self._tau, self._eta = tau, eta
        self.limit = 2 * tau
        self._chosen: int | None = None
        self._surprise = 0.0

    def choose(self, scores: Logits, uniform: float) -> int:
        """Draw the token that `uniform` points at; the limit stays until the token is accepted.

        Args:
            scores: float32 [vocab], after the temperature; not mutated.
            uniform: In [0, 1).
        """
        ids = keep_surprise(scores, self.limit)
        kept = scores[ids]
        index = draw_index(kept, uniform)
        shifted = kept - kept.max()
        total = float(np.exp(shifted).sum(dtype=np.float64))
        self._chosen = int(ids[index])
        self._surprise = (math.log(total) - float(shifted[index])) / math.log(2)
        return self._chosen

    def accept(self, token_id: int) -> None:
        """Let the limit follow the token that was drawn; one that somebody else chose tells nothing."""
        if token_id == self._chosen:
            self.limit -= self._eta * (self._surprise - self._tau)
        self._chosen = None

    def copy(self) -> Self:
        """Return one in the same state that goes its own way."""
        return copy.copy(self)
