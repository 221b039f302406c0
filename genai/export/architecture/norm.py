"""Normalizations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["NormSpec"]


@dataclass(frozen=True, slots=True)
class NormSpec:
    """A normalization over the last axis.

    Args:
        kind: "rms" divides by the root mean square; "layer" also subtracts the mean.
        eps: Added to the variance.
        offset: Added to the stored weight (gemma stores weight - 1).
        bias: Whether a bias is added.
        weight: Whether there is a weight; without one the normalized values stay as they are.
    """

    kind: Literal["rms", "layer"]
    eps: float
    offset: float = 0.0
    bias: bool = False
    weight: bool = True
