"""Several measurements of one thing: their median and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

__all__ = ["Samples"]


@dataclass(frozen=True, slots=True)
class Samples:
    """Measurements of one thing, in the order in which they were taken.

    Args:
        values: The measurements, at least one.
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Self | None:
        """Return those measurements; None if one could not be taken."""
        known = tuple(value for value in values if value is not None)
        return cls(known) if known and len(known) == len(values) else None

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the first and the third quartile; 0 of a single measurement.

        >>> Samples((1.0, 2.0, 3.0, 4.0, 50.0)).spread
        1.0
        """
        if len(self.values) < 2:
            return 0.0
        first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return (third - first) / 2

    def over(self, other: Samples) -> Samples:
        """Return the ratios of measurements that were taken in turns, each to the other's of the same repeat.

        >>> Samples((4.0, 9.0)).over(Samples((2.0, 3.0))).values
        (2.0, 3.0)
        """
        return Samples(tuple(mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)))

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        return {"median": self.median, "spread": self.spread, "samples": list(self.values)}
