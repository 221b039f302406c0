"""A tiny exported model, a command line run in this process or another, and no trace outside tmp_path."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from genai.cli import run
from genai.export import export_model
from tests.checkpoints import make_checkpoint
from tests.hub_server import HubServer, redirected, serve

ROOT = Path(__file__).parents[2]


@dataclass
class Outcome:
    """What a command line did."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that says what went wrong; there must be no other."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("genai: error: ")
        return lines[0].removeprefix("genai: error: ")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(
        "qwen2", tmp_path_factory.mktemp("cli") / "checkpoint", max_position_embeddings=512
    )


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Path:
    export_model(checkpoint, checkpoint.parent / "model", precision="fp32")
    return checkpoint.parent / "model"


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never ends by itself: there is time to interrupt it."""
    folder = tmp_path_factory.mktemp("endless")
    make_checkpoint("qwen2", folder / "checkpoint", max_position_embeddings=200_000, eos_token_id=330)
    export_model(folder / "checkpoint", folder / "model", precision="fp32")
    for name in ("generation_config.json",):
        (folder / "model" / name).write_text('{"eos_token_id": 330, "suppress_tokens": [330, 2]}')
    return folder / "model"


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """An empty hub on loopback instead of the world, and caches of the test's own."""
    with serve() as server, redirected(monkeypatch, server, tmp_path / "home"):
        yield server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run a command line in this process."""

    def call(*arguments: object, stdin: str | bytes | None = None) -> Outcome:
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        code = run([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def environment(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a subprocess that sees the test's hub and caches only."""
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith(("HF_", "GENAI_")) and k != "NO_COLOR"
    }
    return {
        **inherited,
        **hub.environment(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture
def genai(environment: dict[str, str]) -> Callable[..., Outcome]:
    """Run a command line in a process of its own."""

    def call(*arguments: object, stdin: str = "", **variables: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "genai", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            env={**environment, **variables},
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call
