"""Which keys a query may see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mask", "causal_mask"]


@dataclass(frozen=True, slots=True)
class Mask:
    """A causal mask.

    Args:
        window: How many keys a query sees, itself included; None for all.
        slopes: What each head's scores grow by from one key to the next (ALiBi); None for nothing.
    """

    window: int | None
    slopes: tuple[float, ...] | None


def causal_mask(length: int, total: int, window: int | None) -> NDArray[np.bool_]:
    """Return which keys the last `length` of `total` positions see: bool [length, total]."""
    distance = np.arange(total - length, total)[:, None] - np.arange(total)
    return (distance >= 0) & (distance < (total if window is None else window))
