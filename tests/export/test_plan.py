"""An export is planned once, from config.json alone, and then carried out."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from genai.cli import run
from genai.config import EXPORT_VERSION, ExportSettings
from genai.errors import CheckpointError, OptionError, UnsupportedModelError
from genai.export import carry_out, export_model, plan_export
from genai.export.architecture.family import Family
from genai.folder import ModelFolder
from genai.hub import Store
from genai.prepare import prepare_model
from tests.checkpoints import make_checkpoint, make_config


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("llama", tmp_path_factory.mktemp("llama") / "checkpoint")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count how often config.json is parsed, its family asked, and a model folder loaded."""
    counts: Counter[str] = Counter()
    read_text, read, load = Path.read_text, Family.read, ModelFolder.load.__func__

    def counted_read_text(path: Path, *args: Any, **options: Any) -> str:
        counts[path.name] += 1
        return read_text(path, *args, **options)

    def counted_read(family: Family, config: Any) -> Any:
        counts["family"] += 1
        return read(family, config)

    def counted_load(cls: type[ModelFolder], *args: Any, **options: Any) -> ModelFolder:
        counts["folder"] += 1
        return load(cls, *args, **options)

    monkeypatch.setattr(Path, "read_text", counted_read_text)
    monkeypatch.setattr(Family, "read", counted_read)
    monkeypatch.setattr(ModelFolder, "load", classmethod(counted_load))
    yield counts
    assert (counts["config.json"], counts["family"], counts["folder"]) == (1, 1, 1)


@pytest.mark.usefixtures("reads")
def test_an_export_reads_everything_once(llama: Path, tmp_path: Path) -> None:
    folder = export_model(llama, tmp_path / "model")
    assert folder.path == tmp_path / "model"


@pytest.mark.usefixtures("reads")
def test_preparing_reads_everything_once(llama: Path, tmp_path: Path) -> None:
    assert prepare_model(llama, store=Store(tmp_path)).path.is_relative_to(tmp_path)


@pytest.mark.usefixtures("reads")
def test_the_command_reads_everything_once(llama: Path, tmp_path: Path) -> None:
    assert run(["export", str(llama), "-o", str(tmp_path / "model"), "--no-validate"]) == 0


def test_the_folder_that_is_returned_is_the_one_on_disk(llama: Path, tmp_path: Path) -> None:
    assert export_model(llama, tmp_path / "model") == ModelFolder.load(tmp_path / "model")


def test_a_plan_needs_no_weights(llama: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    shutil.copy(llama / "config.json", checkpoint)
    plan = plan_export(checkpoint, ExportSettings("int8", 64, max_context=100))
    assert plan.architecture == "LlamaForCausalLM"
    assert plan.native is not None
    assert plan.native.spec.max_positions == 100
    with pytest.raises(CheckpointError, match="no safetensors file"):
        carry_out(plan, tmp_path / "model")
    shutil.copytree(llama, checkpoint, dirs_exist_ok=True)
    folder = carry_out(plan, tmp_path / "model", source="owner/name", revision="abc")
    assert folder.manifest is not None
    assert folder.manifest.settings == asdict(plan.settings)
    assert folder.manifest.export_version == EXPORT_VERSION
    assert (folder.manifest.source, folder.manifest.revision) == ("owner/name", "abc")
    assert folder.decoder.context_length == 100


def test_what_cannot_be_planned(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="max_context must be at most 256"):
        plan_export(llama, ExportSettings(max_context=257))
    with pytest.raises(CheckpointError, match="nowhere: not a folder"):
        plan_export(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(CheckpointError, match='"architectures" must name the model class'):
        plan_export(tmp_path, ExportSettings(via="transformers"))


@pytest.mark.parametrize("via", ["auto", "native"])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("prefix_lm", {"attn_config": {"prefix_lm": True}}),
        ("alibi", {"attn_config": {"alibi": False}}),
        ("qk_ln", {"attn_config": {"qk_ln": True}}),
        ("logit_scale", {"logit_scale": "sqrt"}),
        ("no_bias", {"no_bias": False}),
    ],
)
def test_what_transformers_ignores_is_not_left_to_its_exporter(
    via: str, key: str, values: dict[str, Any], tmp_path: Path
) -> None:
    config = {**json.loads(make_config("mpt").to_json_string()), "architectures": ["MptForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert plan_export(tmp_path, ExportSettings(via=via)).native is not None
    (tmp_path / "config.json").write_text(json.dumps({**config, **values}))
    with pytest.raises(UnsupportedModelError, match=f'"{key}" is .* and transformers ignores the key'):
        plan_export(tmp_path, ExportSettings(via=via))
