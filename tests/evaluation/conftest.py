"""A good folder that a test may damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Folders = Callable[..., tuple[Path, Path]]


@pytest.fixture
def checkpoint(model_folder: Folders) -> Path:
    return model_folder("llama")[0]


@pytest.fixture
def folder(model_folder: Folders, tmp_path: Path) -> Path:
    """A copy of an fp32 export of `checkpoint`."""
    return Path(shutil.copytree(model_folder("llama")[1], tmp_path / "model"))
