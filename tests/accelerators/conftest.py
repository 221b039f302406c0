"""Fixtures of the accelerators' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accelerators.models import sized_checkpoint


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that makes the checkpoint of a family, once."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = sized_checkpoint(family, tmp_path_factory.mktemp(family) / "checkpoint")
        return made[family]

    return make
