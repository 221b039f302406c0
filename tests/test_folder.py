from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genai import ExportError, ModelFolderError
from genai.folder import ModelFolder, staged_folder


@pytest.fixture
def folder(model_folder: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder("llama")[1], tmp_path / "model"))


@pytest.mark.parametrize(
    ("content", "message"),
    [([1], "JSON object, not a list"), ({"top_p": 7}, "generation_config.json: top_p must be")],
)
def test_a_generation_config_that_makes_no_sense_is_named(folder: Path, content: Any, message: str) -> None:
    (folder / "generation_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=message):
        ModelFolder.load(folder)


def test_a_config_may_name_no_end_of_sequence(folder: Path) -> None:
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["eos_token_id"] = None
    (folder / "genai_config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert ModelFolder.load(folder).eos_token_ids == ()


def test_of_two_exports_to_one_place_the_later_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def export_late() -> None:
        with staged_folder(target) as late:
            (late / "file").write_text("late")
            with staged_folder(target) as early:
                (early / "file").write_text("early")

    with pytest.raises(ExportError, match="exists already"):
        export_late()
    assert (target / "file").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
