"""The whole way: `genai chat --model phi` on a machine that has nothing, against a hub on loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.checkpoints import make_checkpoint
from tests.cli.conftest import Outcome
from tests.hub_server import HubServer

PHI = "microsoft/Phi-4-mini-instruct"
Cli = Callable[..., Outcome]


def test_downloads_and_exports_once_then_runs_offline(genai: Cli, hub: HubServer, tmp_path: Path) -> None:
    hub.add(PHI, make_checkpoint("phi3", tmp_path / "checkpoint"))
    arguments = ("chat", "--model", "phi", "--max-new-tokens", 8)
    first = genai(*arguments, stdin="Hello")
    assert first.code == 0, first.stderr
    assert first.stdout.endswith("\n")
    *notes, cut = first.stderr.splitlines()
    assert cut.startswith("cut off after 8 tokens")
    assert [note.partition(" (")[0] for note in notes] == [
        f"Downloading {PHI}",
        "Exporting Phi-4-mini-instruct to int4",
    ]
    assert hub.downloads()["model.safetensors"] == 1
    hub.requests.clear()
    second = genai(*arguments, stdin="Hello")
    assert second == Outcome(0, first.stdout, f"{cut}\n")
    assert hub.requests == []
    hub.fail_with = 503
    assert genai(*arguments, "--offline", stdin="Hello") == second


def test_a_hub_that_is_down(genai: Cli, hub: HubServer) -> None:
    hub.fail_with = 503
    done = genai("chat", "Hello", "--model", "phi")
    assert done.code == 1
    assert done.stdout == ""
    assert PHI in done.error


def test_offline_without_a_download(genai: Cli, hub: HubServer) -> None:
    done = genai("chat", "Hello", "--model", "phi", "--offline")
    assert done.code == 1
    assert "offline" in done.error
    assert hub.requests == []
