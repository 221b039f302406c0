"""Energy counters are found, added up, and seen through where they start over."""

from __future__ import annotations

from pathlib import Path

import pytest

from genai.benchmark.energy import EnergyMeter


def make_zone(root: Path, zone: str, name: str, microjoules: int) -> Path:
    path = root / zone
    path.mkdir()
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text("10000000\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    return path


def test_packages_are_added_up(tmp_path: Path) -> None:
    first = make_zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = make_zone(tmp_path, "intel-rapl:1", "package-1", 9_000_000)
    core = make_zone(tmp_path, "intel-rapl:0:0", "core", 500_000)
    make_zone(tmp_path, "intel-rapl:2", "psys", 500_000)
    meter = EnergyMeter(tmp_path)
    assert meter.is_readable
    before = meter.read()
    (first / "energy_uj").write_text("3000000")
    (second / "energy_uj").write_text("500000")
    (core / "energy_uj").write_text("600000")
    assert meter.joules_since(before) == pytest.approx(2 + 1.5)


def test_nothing_to_read(tmp_path: Path) -> None:
    (make_zone(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").unlink()
    for root in (tmp_path, tmp_path / "nowhere"):
        meter = EnergyMeter(root)
        assert not meter.is_readable
        assert meter.joules_since(meter.read()) == 0
