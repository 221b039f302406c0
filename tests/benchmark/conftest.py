"""A tiny model, and settings that measure everything once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from genai.benchmark import BenchmarkSettings


@pytest.fixture(scope="session")
def model(model_folder: Callable[..., tuple[Path, Path]]) -> Path:
    return model_folder("llama")[1]


@pytest.fixture
def once() -> BenchmarkSettings:
    return BenchmarkSettings(
        prompt_tokens=(8, 16), past=(24,), new_tokens=4, batch=(1, 3), repeats=2, warmup=0, limits=False
    )
