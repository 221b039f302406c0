"""Checkpoints of two layers, whose calibration takes a second, and tokens to run them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from genai.calibration import CalibrationText, export_calibrated, packaged_text
from genai.config import ExportSettings
from genai.export import plan_export
from genai.folder import ModelFolder
from tests.checkpoints import make_checkpoint

Calibrated = Callable[..., ModelFolder]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("llama", tmp_path_factory.mktemp("llama") / "checkpoint")


@pytest.fixture(scope="session")
def text() -> CalibrationText:
    """A part of the package's text that is long enough."""
    return CalibrationText("part", packaged_text().content[:7000])


@pytest.fixture
def calibrated(text: CalibrationText) -> Calibrated:
    """A function that calibrates a checkpoint's export with a short text.

    In blocks of 32, with which more of a small decoder has 4 bits than by default.
    """

    def make(checkpoint: Path, output: Path, *, method: str = "gptq", **options: object) -> ModelFolder:
        plan = plan_export(checkpoint, ExportSettings(quantize=method, block_size=32))
        return export_calibrated(plan, output, text=text, **options)  # type: ignore[arg-type]

    return make
