"""`genai models list`, `pull`, `show`, `remove`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genai.config import EXPORT_VERSION
from tests.cli.conftest import Outcome
from tests.hub_server import HubServer

Cli = Callable[..., Outcome]
QWEN = "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.fixture
def pulled(cli: Cli, hub: HubServer, checkpoint: Path) -> Path:
    hub.add(QWEN, checkpoint)
    done = cli("models", "pull", "qwen2.5")
    assert done.code == 0
    return Path(done.stdout.strip())


def entry(cli: Cli, name: str) -> dict[str, object]:
    return next(e for e in json.loads(cli("models", "list", "--json").stdout) if e["name"] == name)


def test_list_of_a_fresh_machine(cli: Cli) -> None:
    done = cli("models", "list")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("MODEL ")
    assert entry(cli, "phi")["is_here"] is False


def test_pull(cli: Cli, hub: HubServer, pulled: Path) -> None:
    assert (pulled / "genai_config.json").is_file()
    (export,) = entry(cli, "qwen2.5")["exports"]  # type: ignore[misc]
    assert export["path"] == str(pulled)
    assert "int4" in cli("models", "list").stdout
    hub.requests.clear()
    assert cli("models", "pull", "qwen2.5").stdout.strip() == str(pulled)
    assert hub.requests == []
    assert cli("models", "pull", "qwen2.5", "--update").code == 0
    assert hub.requests


def test_pull_at_another_precision(cli: Cli, pulled: Path) -> None:
    done = cli("models", "pull", "qwen2.5", "--precision", "fp32")
    assert Path(done.stdout.strip()) != pulled
    assert len(entry(cli, "qwen2.5")["exports"]) == 2  # type: ignore[arg-type]


def test_pull_of_nothing(cli: Cli) -> None:
    done = cli("models", "pull", "owner/nothing")
    assert done.code == 1
    assert "owner/nothing" in done.error


def test_show(cli: Cli, pulled: Path) -> None:
    text = cli("models", "show", "qwen2.5").stdout
    for fact in (QWEN, str(pulled), "512 tokens", "int4", "Qwen2"):
        assert fact in text
    value = json.loads(cli("models", "show", "qwen2.5", "--json").stdout)
    assert value["folders"][0]["manifest"]["source"] == QWEN


def test_results_of_another_shape_are_not_shown(cli: Cli, pulled: Path) -> None:
    manifest = json.loads((pulled / "manifest.json").read_text())
    results = {"evaluation": {"perplexity": 7}, "validation": ["passed"]}
    (pulled / "manifest.json").write_text(json.dumps({**manifest, **results}))
    done = cli("models", "show", "qwen2.5")
    assert (done.code, done.stderr) == (0, "")
    assert "quality" not in done.stdout
    assert "validated" not in done.stdout


def test_an_export_of_an_earlier_version_is_called_outdated(cli: Cli, pulled: Path) -> None:
    (export,) = entry(cli, "qwen2.5")["exports"]  # type: ignore[misc]
    assert export["is_current"] is True
    for command in (("list",), ("show", "qwen2.5")):
        assert "outdated" not in cli("models", *command).stdout
    manifest = json.loads((pulled / "manifest.json").read_text())
    (pulled / "manifest.json").write_text(json.dumps({**manifest, "export_version": EXPORT_VERSION - 1}))
    (export,) = entry(cli, "qwen2.5")["exports"]  # type: ignore[misc]
    assert (export["is_current"], export["is_damaged"]) == (False, False)
    assert "B (outdated)" in cli("models", "list").stdout
    assert f"{pulled} (outdated)" in cli("models", "show", "qwen2.5").stdout
    (pulled / "genai_config.json").write_text("{")
    assert "B (damaged)" in cli("models", "list").stdout


def test_show_of_a_folder(cli: Cli, model: Path) -> None:
    assert "precision   fp32" in cli("models", "show", model).stdout
    value = json.loads(cli("models", "show", model, "--json").stdout)
    assert value["folders"][0]["context_length"] == 512


def test_show_of_a_checkpoint(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("models", "show", checkpoint)
    assert "exports  none here" in done.stdout
    assert "download" not in done.stdout
    (tmp_path / "photos").mkdir()
    done = cli("models", "show", tmp_path / "photos")
    assert done.code == 1
    assert "neither a model folder" in done.error


def test_show_of_what_is_not_here(cli: Cli) -> None:
    text = cli("models", "show", "phi").stdout
    assert "not here" in text
    assert "memory      about 2.9 GB, and 262 kB for each token" in text
    done = cli("models", "show", "phy")
    assert done.code == 1
    assert 'Did you mean "phi"?' in done.error


def test_remove(cli: Cli, pulled: Path) -> None:
    refused = cli("models", "remove", "qwen2.5")
    assert refused.code == 2
    assert "--yes" in refused.error
    assert pulled.is_dir()
    done = cli("models", "remove", "qwen2.5", "--yes")
    assert done.code == 0
    assert done.stdout.startswith("removed qwen2.5: ")
    assert not pulled.exists()
    again = cli("models", "remove", "qwen2.5", "--yes")
    assert again.code == 1
    assert "--downloads" in again.error
    assert cli("models", "remove", "qwen2.5", "--yes", "--downloads").code == 0
    assert entry(cli, "qwen2.5")["is_here"] is False


@pytest.mark.parametrize(("answer", "is_removed"), [("y\n", True), ("n\n", False), ("", False)])
def test_remove_asks_on_a_terminal(
    cli: Cli, pulled: Path, monkeypatch: pytest.MonkeyPatch, answer: str, is_removed: bool
) -> None:
    monkeypatch.setattr("genai.cli.models.remove.is_terminal", lambda _stream: True)
    done = cli("models", "remove", "qwen2.5", stdin=answer)
    assert done.code == 0
    assert "Remove qwen2.5 (" in done.stderr
    assert pulled.exists() is not is_removed
