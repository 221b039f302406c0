"""`genai export --web` and `--triton`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from genai.folder import ModelFolder
from genai.hub import resolve
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]


def test_of_a_model_folder_that_is_there(cli: Cli, tmp_path: Path) -> None:
    done = cli("export", "demo", "--web", tmp_path / "site", "--triton", tmp_path / "repository")
    assert (done.code, done.stderr) == (0, "")
    assert "http.server" in done.stdout
    assert "tritonserver" in done.stdout
    assert (tmp_path / "site" / "index.html").is_file()
    assert (tmp_path / "repository" / "generate" / "config.pbtxt").is_file()


def test_of_an_export(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--triton", tmp_path / "triton", "--json")
    assert done.code == 0
    assert json.loads(done.stdout)["path"] == str(tmp_path / "model")  # nothing else is on stdout
    assert ModelFolder.load(tmp_path / "triton" / "logits" / "1").manifest is not None


def test_nothing_is_exported_where_nothing_can_be_written(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--web", tmp_path)
    assert done.code == 1
    assert "exists already" in done.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.txt"]


def test_a_checkpoint_needs_an_output(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    for options in ([], ["--web", tmp_path / "site"]):
        done = cli("export", checkpoint, *options)
        assert done.code == 2
        assert "--output" in done.error
    assert not (tmp_path / "site").exists()
    assert cli("quantize", checkpoint).code == 2


def test_a_model_folder_needs_something_to_make(cli: Cli) -> None:
    done = cli("export", "demo")
    assert done.code == 2
    assert "a model folder already" in done.error


def test_libraries_without_a_page(cli: Cli, tmp_path: Path) -> None:
    done = cli("export", "demo", "--triton", tmp_path / "triton", "--web-runtime", tmp_path)
    assert done.code == 2
    assert "--web" in done.error


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../b", "..\\secret"])
def test_a_folder_reaches_no_files_outside_of_it(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "model"
    shutil.copytree(ModelFolder.load(resolve("demo").path).path, folder)  # type: ignore[union-attr]
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    done = cli("export", folder, "--web", tmp_path / "site", "--triton", tmp_path / "repository")
    assert done.code == 1
    assert "a file outside of itself" in done.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "secret"]


def test_options_of_an_export_that_is_not_made_are_refused(cli: Cli, tmp_path: Path) -> None:
    options = ["--provider", "webgpu", "--block-size", "64", "--quantize", "hqq"]
    done = cli("export", "demo", "--web", tmp_path / "site", *options)
    assert done.code == 2
    assert "--block-size and --provider and --quantize: the model folder is there already" in done.error
    assert not (tmp_path / "site").exists()
