"""The energy that the processor has taken, where the system lets it be read (Linux' powercap: RAPL)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EnergyMeter"]

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class _Zone:
    path: Path
    range_joules: float

    def read_joules(self) -> float:
        return int((self.path / "energy_uj").read_text()) / 1e6


class EnergyMeter:
    """Adds up the counters of all packages, whatever runs on them; a part of one (its cores, its memory) is not counted again.

    Args:
        root: Where the system shows its counters.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = list(_readable_zones(root))

    @property
    def is_readable(self) -> bool:
        """Whether there is a counter."""
        return bool(self._zones)

    def read(self) -> tuple[float, ...]:
        """Return the counters of now, in joules, for `joules_since`."""
        return tuple(zone.read_joules() for zone in self._zones)

    def joules_since(self, before: tuple[float, ...]) -> float:
        """Return the energy since `read`; a counter that has started over once in between is seen through."""
        return sum(
            after - start + (zone.range_joules if after < start else 0)
            for zone, start, after in zip(self._zones, before, self.read(), strict=True)
        )


def _readable_zones(root: Path) -> Iterator[_Zone]:
    """Yield the packages: zones of one number, such as intel-rapl:0, named package-0."""
    for path in sorted(root.glob("*:*")):
        try:
            if path.name.count(":") == 1 and (path / "name").read_text().startswith("package"):
                zone = _Zone(path, int((path / "max_energy_range_uj").read_text()) / 1e6)
                zone.read_joules()
                yield zone
        except (OSError, ValueError):  # often for the administrator alone
            continue
