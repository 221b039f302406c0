"""`--variant`: which ONNX file of a transformers.js folder runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.hub_server import HubServer

Cli = Callable[..., Outcome]


@pytest.fixture
def repo(checkpoint: Path, model: Path, tmp_path: Path) -> Path:
    """A model folder laid out for transformers.js, of which only one variant is a real graph."""
    repo = tmp_path / "repo"
    shutil.copytree(checkpoint, repo, ignore=shutil.ignore_patterns("*.safetensors"))
    (repo / "onnx").mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copy(model / name, repo / "onnx" / name)
    (repo / "onnx" / "model_fp16.onnx").write_bytes(b"not read")
    return repo


def test_the_default_and_one_that_is_not_there(cli: Cli, repo: Path) -> None:
    done = cli("generate", "the quick", "--model", str(repo), "--max-new-tokens", "4", "--json")
    assert done.code == 0, done.stderr
    assert len(json.loads(done.stdout)["token_ids"]) <= 4
    refused = cli("generate", "the quick", "--model", str(repo), "--variant", "q4")
    assert (refused.code, refused.error) == (2, f'{repo} has no variant "q4"; it has fp16, fp32.')
    refused = cli("generate", "the quick", "--model", str(repo), "--variant", "fp32", "--precision", "int4")
    assert refused.code == 2
    assert "give one" in refused.error


def test_show_names_the_variant(cli: Cli, repo: Path) -> None:
    assert json.loads(cli("models", "show", str(repo), "--json").stdout)["folders"][0]["variant"] == "fp32"
    assert "variant" in cli("models", "show", str(repo)).stdout


def test_pull_fetches_one_variant(cli: Cli, hub: HubServer, repo: Path) -> None:
    hub.add("owner/js", repo)
    done = cli("models", "pull", "owner/js", "--variant", "fp32")
    assert done.code == 0, done.stderr
    files = {path.name for path in (Path(done.stdout.strip()) / "onnx").iterdir()}
    assert files == {"model.onnx", "model.onnx.data"}
