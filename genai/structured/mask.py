"""Forbidding tokens by a bit mask, as fast as numpy can."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenMask"]


class TokenMask:
    """One bit per token, and the buffers that make forbidding them cheap; shared by whoever runs in one thread at a time.

    A table holds for each byte of the mask what eight logits may be at most, +inf or -inf: one `take` and one `minimum`,
    both vectorized, take a third to a tenth of the time of `logits[mask == 0] = -inf`, and as long for every mask.

    Args:
        num_tokens: How many tokens have a bit.
    """

    def __init__(self, num_tokens: int) -> None:
        self.words = np.zeros((num_tokens + 31) // 32, np.uint32)
        self._bytes = self.words.view(np.uint8)
        self._bounds = np.empty((self._bytes.size, 8), np.float32)
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
        self._table = np.where(bits == 1, np.float32(np.inf), np.float32(-np.inf))

    def __contains__(self, token_id: int) -> bool:
        word = token_id // 32
        return word < self.words.size and bool((int(self.words[word]) >> (token_id % 32)) & 1)

    def set(self, token_id: int, *, is_allowed: bool) -> None:
        """Change one token's bit; one without a bit stays forbidden."""
        if token_id // 32 < self.words.size:
            bit = np.uint32(1 << (token_id % 32))
            if is_allowed:
                self.words[token_id // 32] |= bit
            else:
                self.words[token_id // 32] &= ~bit

    def apply(self, logits: NDArray[np.float32]) -> None:
        """Make the logits of all tokens that have no bit, or a bit of 0, -inf.

        >>> mask, logits = TokenMask(3), np.zeros(40, np.float32)
        >>> mask.set(1, is_allowed=True)
        >>> mask.apply(logits)
        >>> np.isfinite(logits).nonzero()[0].tolist()
        [1]
        """
        np.take(self._table, self._bytes, axis=0, out=self._bounds, mode="clip")
        bounds = self._bounds.reshape(-1)[: logits.size]
        np.minimum(logits[: bounds.size], bounds, out=logits[: bounds.size])
        logits[bounds.size :] = -np.inf
