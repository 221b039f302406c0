"""Fixtures of the accelerators' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from genai.runtime.providers import PROVIDERS
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


@pytest.fixture(autouse=True)
def fast_product(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Turns CUDA's fast product on or off; off at first.

    Its trials leave in the arena what sizes are then read from, where no kernel computes them.
    """
    cuda = next(provider for provider in PROVIDERS if provider.name == "cuda")
    assert isinstance(cuda.session_entries, dict)

    def turn(is_on: bool) -> None:
        monkeypatch.setitem(cuda.session_entries, "ep.cuda.fpa_intb_gemm", str(int(is_on)))

    turn(False)
    return turn
