"""GGUF files by any name that stands for one: exported once, their weights kept, and run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType

import genai
from genai.errors import CheckpointError, GenaiError, ModelNotFoundError, OptionError, UnsupportedModelError
from genai.export import export_model, plan_export
from genai.folder import ModelFolder
from genai.hub import Store, find_model, list_models, resolve
from genai.hub.presets import Preset
from genai.prepare import prepare_model
from tests.checkpoints import make_checkpoint
from tests.cli.conftest import Outcome, cli  # noqa: F401 - a fixture
from tests.export.gguf.converter import write_gguf
from tests.export.runner import GraphRunner
from tests.hub_server import HubServer, redirected, serve

Q4_1, Q8_0 = GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0


def mixed(name: str, array: np.ndarray) -> GGMLQuantizationType | None:
    """Quantize like llama.cpp: the embedding at 8 bits, everything else at 4."""
    if array.shape[-1] % 32:
        return None
    return Q8_0 if name == "token_embd.weight" else Q4_1


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gguf")
    sizes = {"hidden_size": 64, "intermediate_size": 96, "tie_word_embeddings": True}
    checkpoint = make_checkpoint("llama", root / "checkpoint", **sizes)
    return write_gguf(checkpoint, root / "model.gguf", quantize=mixed)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENAI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_weights_are_kept_unless_a_precision_is_asked_for(file: Path, home: Path):
    folder = prepare_model(file)
    assert folder.manifest is not None
    assert folder.manifest.precision == "keep"
    weights = dict(folder.manifest.exporter_notes["quantized_weights"])
    assert weights.pop("parameters")["embedding.weight"] == {"was": "gguf-q8_0", "carried_over": True}
    assert weights == {"carried_over": {"gguf-q4_1": 14, "gguf-q8_0": 1}}
    assert prepare_model(file).path == folder.path
    other = prepare_model(str(file), precision="int8")
    assert other.manifest is not None
    assert other.manifest.precision == "int8"
    assert other.manifest.exporter_notes["quantized_weights"]["decoded"] == {"gguf-q4_1": 14, "gguf-q8_0": 1}
    assert prepare_model(file).path == folder.path
    assert {Path(entry.source).name for entry in list_models(Store()) if entry.preset is None} == {
        "model.gguf"
    }
    assert len(find_model(str(file)).exports) == 2


def test_kept_weights_compute_what_floats_do(file: Path, tmp_path: Path):
    kept = export_model(file, tmp_path / "kept")
    floats = export_model(file, tmp_path / "floats", precision="fp32")
    tokens = list(range(5, 40))
    found, expected = GraphRunner(kept).feed(tokens), GraphRunner(floats).feed(tokens)
    # Activations have 8 bits in the products with kept weights.
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


def test_a_generator_opens_a_file(file: Path, home: Path):
    with genai.Generator(file) as generator:
        assert generator.chat([genai.Message("user", "the quick brown")], max_new_tokens=3).text is not None


def test_a_folder_with_one_file_and_a_blob_without_a_suffix(file: Path, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(file, folder / "model.gguf")
    (folder / "config.json").write_text("{}")  # as some repositories of GGUF files have it
    assert plan_export(folder).architecture == "LlamaForCausalLM"
    blob = tmp_path / "sha256-0123"
    shutil.copy(file, blob)
    assert plan_export(blob).architecture == "LlamaForCausalLM"
    assert resolve(str(blob)).path == blob
    shutil.copy(file, folder / "other.gguf")
    with pytest.raises(
        CheckpointError, match=r"holds 2 GGUF files: name one of them \(model.gguf, other.gguf\)"
    ):
        prepare_model(folder)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match=r"there is no file .*missing.gguf"):
        resolve(str(tmp_path / "missing.gguf"))
    with pytest.raises(ModelNotFoundError, match=r"there is no file .*missing.gguf"):
        resolve("missing.gguf")


def test_only_the_native_exporter_reads_files(file: Path, tmp_path: Path):
    with pytest.raises(OptionError, match="GGUF file"):
        export_model(file, tmp_path / "out", via="transformers")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serve() as server, redirected(monkeypatch, server, tmp_path / "home"):
        yield server


def test_one_file_of_a_repository(file: Path, hub: HubServer):
    hub.add("owner/name", {"a.gguf": file.read_bytes(), "b.gguf": b"another one", "README.md": "text"})
    with pytest.raises(
        GenaiError, match=r"holds 2 GGUF files; name one of them: owner/name:a.gguf, owner/name:b.gguf"
    ):
        prepare_model("owner/name")
    folder = prepare_model("owner/name:a.gguf")
    assert folder.manifest is not None
    assert (folder.manifest.source, folder.manifest.precision) == ("owner/name:a.gguf", "keep")
    assert not any("b.gguf" in request for request in hub.requests)
    num_requests = len(hub.requests)
    assert prepare_model("owner/name:a.gguf").path == folder.path
    assert len(hub.requests) == num_requests


def test_the_only_file_of_a_repository(file: Path, hub: HubServer):
    hub.add("owner/name", {"config.json": '{"model_type": "llama"}', "a.gguf": file.read_bytes()})
    folder = prepare_model("owner/name")
    assert folder.manifest is not None
    assert (folder.manifest.source, folder.manifest.precision) == ("owner/name", "keep")


def test_the_command_line(file: Path, tmp_path: Path, cli, home: Path):  # noqa: F811
    done: Outcome = cli("export", file, "-o", tmp_path / "model")
    assert (done.code, done.stderr) == (0, "")
    assert ": keep, " in done.stdout
    shown: Outcome = cli("models", "show", tmp_path / "model")
    assert "14 as gguf-q4_1 has them, 1 as gguf-q8_0 has them" in shown.stdout
    generated: Outcome = cli("generate", "the quick", "--model", file, "--max-new-tokens", 2)
    assert generated.code == 0
    listed: Outcome = cli("models", "show", file)
    assert (listed.code, "keep" in listed.stdout) == (0, True)


def test_a_file_of_another_package(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path):
    values = {
        "aliases": ["tiny"],
        "description": "",
        "license": "",
        "parameters": "",
        "repo": "owner/tiny",
        "package_file": "tiny_package_of_tests/model.gguf",
        "precision": "int4",
    }
    preset = Preset.from_json(values)
    assert preset.find_package_file() is None
    package = tmp_path / "site" / "tiny_package_of_tests"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('nobody may import this')")
    monkeypatch.syspath_prepend(str(package.parent))
    assert preset.find_package_file() is None
    shutil.copy(file, package / "model.gguf")
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "tiny.json").write_text(json.dumps(values))
    monkeypatch.setattr("genai.hub.presets.presets_folder", lambda: configs)
    found = resolve("tiny")
    assert found.path == package / "model.gguf"
    assert not hasattr(resolve("tiny", revision="main"), "path")
    assert prepare_model("tiny").manifest.precision == "keep"
    entry = find_model("tiny")
    assert (entry.is_packaged, len(entry.exports)) == (True, 1)


def test_unknown_architectures_are_refused_by_name(tmp_path: Path):
    import gguf

    for name, message in (
        ("mamba", '"mamba" cannot be read'),
        ("clip", "sees images"),
        ("qwen3vl", 'mean "qwen3'),
    ):
        writer = gguf.GGUFWriter(tmp_path / f"{name}.gguf", name)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        with pytest.raises(UnsupportedModelError, match=message):
            plan_export(tmp_path / f"{name}.gguf")


def test_text_files_are_the_checkpoints(file: Path, tmp_path: Path):
    from genai.text import Tokenizer

    folder = export_model(file, tmp_path / "out", precision="fp32")
    ours, theirs = Tokenizer.from_folder(folder.path), Tokenizer.from_folder(file.parent / "checkpoint")
    for text in ("the quick brown fox", "1234 jumps\n\nover   the", "<|im_start|>user\nhé<|im_end|>"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))
    assert (folder.path / "chat_template.jinja").read_text() == (
        file.parent / "checkpoint/chat_template.jinja"
    ).read_text()
    assert ModelFolder.load(folder.path).eos_token_ids == (2, 0)
