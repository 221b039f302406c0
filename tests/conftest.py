"""Fixtures that several folders of tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

settings.register_profile("genai", deadline=None)  # shared machines pause
settings.load_profile("genai")
torch.set_num_threads(1)  # tiny models only wait for one another
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell's background jobs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """A function that makes a random checkpoint of a family and exports it, once per session and arguments.

    In blocks of 32, with which a small decoder has matrices of 4 bits at int4. Returns the checkpoint and the model folder.
    """
    from genai.export import export_model
    from tests.checkpoints import make_checkpoint

    made: dict[str, tuple[Path, Path]] = {}

    def make(family: str, *, precision: str = "fp32", **overrides: Any) -> tuple[Path, Path]:
        key = repr((family, precision, sorted(overrides.items())))
        if key not in made:
            root = tmp_path_factory.mktemp(family)
            checkpoint = make_checkpoint(family, root / "checkpoint", **overrides)
            export_model(checkpoint, root / "model", precision=precision, block_size=32)
            made[key] = (checkpoint, root / "model")
        return made[key]

    return make
