from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubServer, redirected, serve

CHECKPOINT = {
    "config.json": '{"model_type": "phi3"}',
    "tokenizer.json": "{}",
    "model.safetensors": b"weights" * 1000,
    "README.md": "about",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty hub that this process's huggingface_hub talks to, with caches of its own."""
    with serve() as server, redirected(monkeypatch, server, tmp_path / "home"):
        yield server


@pytest.fixture
def checkpoint_files() -> dict[str, bytes | str]:
    return dict(CHECKPOINT)
