"""A number behind measurements that are disturbed."""

from __future__ import annotations

__all__ = ["Estimate"]

FALLING, RISING = 0.5, 0.1
"""How fast an estimate follows a measurement below and above it: what disturbs a run makes it longer."""


class Estimate:
    """A number behind measurements that are disturbed upwards."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.count = 0

    def note(self, measured: float) -> None:
        """Take in a measurement."""
        rate = 1.0 if not self.count else FALLING if measured < self.value else RISING
        self.value += rate * (measured - self.value)
        self.count += 1
