from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import genai.export
from genai.config import ExportSettings, GenerationConfig
from genai.errors import (
    CheckpointError,
    GenaiError,
    ModelFolderError,
    ModelNotFoundError,
    OptionError,
    UnsupportedModelError,
)
from genai.folder import DecoderConfig, Manifest, ModelFolder, staged_folder, write_genai_config
from genai.hub import Store, load_presets, remove_model
from genai.prepare import prepare_model
from tests.checkpoints import make_checkpoint
from tests.hub_server import HubServer, point_at, redirected, serve

DECODER = DecoderConfig("phi3", "model.onnx", 8, 16, 4, 1, 1, 1, 4)
PHI = "microsoft/Phi-4-mini-instruct"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 100,
}
CHECKPOINT = {"config.json": json.dumps(CONFIG), "tokenizer.json": "{}", "model.safetensors": b"weights"}
MODEL_FOLDER = {"genai_config.json": json.dumps(write_genai_config(DECODER)), "model.onnx": b"graph"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serve() as server, redirected(monkeypatch, server, tmp_path / "home"):
        yield server


class Exporter:
    """Stands in for `carry_out`: writes a folder of the right form, and counts."""

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []
        self.generation: dict[str, object] = {}

    def __call__(self, plan, output, *, progress, source, revision, note, page_license) -> ModelFolder:
        assert (plan.checkpoint / "model.safetensors").is_file()
        precision, block_size = plan.settings.precision, plan.settings.block_size
        self.calls.append(
            {"precision": precision, "block_size": block_size, "source": source, "revision": revision}
        )
        manifest = Manifest(
            *(source, revision, "LlamaForCausalLM", precision, {}, {}, {}, "2026-11-21", {}),
            settings=dataclasses.asdict(plan.settings),
        )
        with staged_folder(output) as folder:
            for name, data in MODEL_FOLDER.items():
                (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
            (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
            (folder / "generation_config.json").write_text(json.dumps(self.generation))
            note("Exporting by other means")
            progress(genai.export.ExportProgress(1, 2, 10, 20, "lm_head"))
        return ModelFolder.load(output)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    stand_in = Exporter()
    monkeypatch.setattr(genai.export, "carry_out", stand_in)
    return stand_in


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def test_a_model_folder_is_taken_as_it_is(tmp_path: Path, exporter: Exporter):
    folder = write(tmp_path / "model", MODEL_FOLDER)
    assert prepare_model(folder) == ModelFolder.load(folder)
    assert prepare_model(str(folder)).path == folder
    with pytest.raises(
        OptionError, match=r"precision cannot be chosen for .*model: it is a model folder already"
    ):
        prepare_model(folder, precision="fp32")
    assert exporter.calls == []


JS_FOLDER = {
    "config.json": json.dumps(CONFIG),
    "tokenizer.json": "{}",
    "onnx/model.onnx": b"graph",
    "onnx/model_q4.onnx": b"graph",
    "onnx/model_q4.onnx_data": b"weights",
    "onnx/model_q4f16.onnx": b"graph",
}


def test_one_variant_of_a_repository_is_fetched_and_run_as_it_is(hub: HubServer, exporter: Exporter):
    hub.add("owner/name", JS_FOLDER)
    folder = prepare_model("owner/name")
    assert (folder.variant, folder.decoder.filename) == ("q4", "onnx/model_q4.onnx")
    here = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}
    assert here == {"config.json", "tokenizer.json", "onnx/model_q4.onnx", "onnx/model_q4.onnx_data"}
    num_requests = len(hub.requests)
    assert prepare_model("owner/name") == folder
    assert len(hub.requests) == num_requests
    on_gpu = prepare_model("owner/name", provider="cuda")
    assert on_gpu.variant == "q4f16"
    assert on_gpu.path == folder.path
    assert prepare_model("owner/name", variant="q4", offline=True).variant == "q4"
    with pytest.raises(OptionError, match='owner/name has no variant "int8"; it has fp32, q4, q4f16'):
        prepare_model("owner/name", variant="int8")
    assert exporter.calls == []


def test_onnx_files_beside_a_checkpoint(tmp_path: Path, hub: HubServer, exporter: Exporter):
    hub.add("owner/both", {**JS_FOLDER, **CHECKPOINT})
    hub.add(PHI, {**JS_FOLDER, **CHECKPOINT})
    local = write(tmp_path / "both", CHECKPOINT)
    (local / "onnx").mkdir()
    write(local, JS_FOLDER)
    for name in ("owner/both", local):
        assert prepare_model(name).variant == "q4"
        assert exporter.calls == []
        assert prepare_model(name, precision="fp32").variant is None  # settings that only an export has
        assert [call["precision"] for call in exporter.calls] == ["fp32"]
        exporter.calls.clear()
        with pytest.raises(OptionError, match="give one"):
            prepare_model(name, variant="q4", precision="fp32")
    assert prepare_model(PHI).variant is None  # a preset says how it is to be exported
    assert len(exporter.calls) == 1
    assert prepare_model(PHI, variant="q4").variant == "q4"


def test_what_is_only_part_of_a_model_folder_is_explained(tmp_path: Path, hub: HubServer):
    (tmp_path / "repo" / "onnx").mkdir(parents=True)
    write(tmp_path / "repo", JS_FOLDER)
    with pytest.raises(CheckpointError, match=r"onnx holds only the ONNX files of .*repo: pass that folder"):
        prepare_model(tmp_path / "repo" / "onnx")
    no_cache = write(tmp_path / "old", {"config.json": json.dumps(CONFIG), "decoder_model.onnx": b"graph"})
    with pytest.raises(CheckpointError, match="has no cache of keys and values"):
        prepare_model(no_cache)


def test_a_checkpoint_has_no_variants(tmp_path: Path, hub: HubServer):
    with pytest.raises(OptionError, match=r'has no variant "q4": it is a checkpoint'):
        prepare_model(write(tmp_path / "checkpoint", CHECKPOINT), variant="q4")


def test_a_local_checkpoint_is_exported_once(tmp_path: Path, hub: HubServer, exporter: Exporter):
    checkpoint = write(tmp_path / "checkpoint", CHECKPOINT)
    first = prepare_model(checkpoint)
    assert prepare_model(checkpoint) == first
    assert exporter.calls == [
        {"precision": "int4", "block_size": None, "source": str(checkpoint.resolve()), "revision": None}
    ]
    assert first.path.is_relative_to(tmp_path / "home" / "genai" / "models")
    write(checkpoint, {"model.safetensors": b"other weights"})
    assert prepare_model(checkpoint).path != first.path
    assert len(exporter.calls) == 2
    assert hub.requests == []


def test_a_repository_is_fetched_and_exported_once(hub: HubServer, exporter: Exporter):
    commit = hub.add("owner/name", CHECKPOINT)
    first = prepare_model("owner/name")
    assert exporter.calls == [
        {"precision": "int4", "block_size": None, "source": "owner/name", "revision": commit}
    ]
    hub.requests.clear()
    assert prepare_model("owner/name") == first
    assert prepare_model("owner/name", offline=True) == first
    assert prepare_model(f"owner/name@{commit}") == first
    assert prepare_model("owner/name", revision=commit) == first
    assert hub.requests == []
    assert len(exporter.calls) == 1


def test_settings_make_exports_of_their_own(hub: HubServer, exporter: Exporter):
    hub.add("owner/name", CHECKPOINT)
    paths = {
        prepare_model("owner/name", **settings).path
        for settings in (
            {},
            {"precision": "fp32"},
            {"block_size": 128},
            {"precision": "int4"},
        )
    }
    assert len(paths) == len(exporter.calls) == 3
    assert hub.downloads()["model.safetensors"] == 1


def test_an_update_is_looked_for_only_when_asked(hub: HubServer, exporter: Exporter):
    hub.add("owner/name", CHECKPOINT)
    old = prepare_model("owner/name")
    assert prepare_model("owner/name", update=True) == old
    commit = hub.add("owner/name", {**CHECKPOINT, "model.safetensors": b"new weights"})
    assert prepare_model("owner/name") == old
    new = prepare_model("owner/name", update=True)
    assert new.manifest is not None
    assert new.manifest.revision == commit
    assert prepare_model("owner/name") == new
    assert len(exporter.calls) == 2


def test_an_export_outlives_its_download(hub: HubServer, exporter: Exporter, tmp_path: Path):
    hub.add("owner/name", CHECKPOINT)
    first = prepare_model("owner/name")
    remove_model("owner/name", exports=False, downloads=True)
    hub.requests.clear()
    assert prepare_model("owner/name") == first
    assert hub.requests == []
    assert prepare_model("owner/name", update=True) == first
    assert hub.downloads()["model.safetensors"] == 0


def test_a_removed_export_is_made_again_from_the_download(hub: HubServer, exporter: Exporter):
    hub.add("owner/name", CHECKPOINT)
    first = prepare_model("owner/name")
    remove_model("owner/name")
    hub.requests.clear()
    assert prepare_model("owner/name", offline=True) == first
    assert len(exporter.calls) == 2
    assert hub.requests == []


def test_a_damaged_export_is_made_again(hub: HubServer, exporter: Exporter):
    hub.add("owner/name", CHECKPOINT)
    first = prepare_model("owner/name")
    first.model_path.unlink()
    assert prepare_model("owner/name") == first
    assert len(exporter.calls) == 2


def test_a_repository_with_a_model_folder_runs_as_it_is(hub: HubServer, exporter: Exporter):
    files = {f"cpu/int4/{name}": data for name, data in MODEL_FOLDER.items()}
    hub.add("owner/onnx", files)
    folder = prepare_model("owner/onnx:cpu/int4")
    assert folder.decoder.model_type == "phi3"
    assert folder.model_path.read_bytes() == b"graph"
    assert exporter.calls == []
    hub.requests.clear()
    assert prepare_model("owner/onnx:cpu/int4") == folder
    assert hub.requests == []
    with pytest.raises(OptionError, match="block_size cannot be chosen for owner/onnx:cpu/int4"):
        prepare_model("owner/onnx:cpu/int4", block_size=64)
    with pytest.raises(ModelFolderError, match="there are model folders at :cpu/int4"):
        prepare_model("owner/onnx")


def test_an_alias_brings_its_settings(hub: HubServer, exporter: Exporter, monkeypatch: pytest.MonkeyPatch):
    presets = tuple(
        dataclasses.replace(preset, settings=ExportSettings("int8", 64)) if preset.alias == "phi" else preset
        for preset in load_presets()
    )
    monkeypatch.setattr("genai.hub.presets.load_presets", lambda: presets)
    hub.add(PHI, CHECKPOINT)
    prepare_model("phi")
    prepare_model(PHI)
    prepare_model("phi", precision="fp16")
    assert [(call["precision"], call["block_size"]) for call in exporter.calls] == [
        ("int8", 64),
        ("fp16", None),
    ]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, {"do_sample": True, "temperature": 0.2, "top_p": 0.9}),
        ({"temperature": 0.7}, {"do_sample": True, "temperature": 0.7, "top_p": 0.9}),
        ({"do_sample": False, "top_p": None}, {"do_sample": False, "temperature": 0.2, "top_p": 0.9}),
    ],
)
def test_generation_defaults_fill_what_the_model_leaves_open(
    own: dict[str, object], expected: dict[str, object], hub: HubServer, exporter: Exporter
):
    hub.add("HuggingFaceTB/SmolLM2-360M-Instruct", CHECKPOINT)
    exporter.generation = own
    generation = prepare_model("smollm").generation
    assert generation == dataclasses.replace(GenerationConfig(), **expected)


def test_the_demo_model_may_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    presets = load_presets()
    monkeypatch.setattr("genai.hub.presets._PACKAGE", tmp_path)
    monkeypatch.setattr("genai.hub.presets.load_presets", lambda: presets)
    with pytest.raises(ModelNotFoundError, match='"demo" should come with the package and is not at'):
        prepare_model("demo")
    folder = write(tmp_path / "demo_model", MODEL_FOLDER)
    assert prepare_model("demo").path == folder


def test_what_cannot_be_exported_is_not_fetched(hub: HubServer, exporter: Exporter):
    hub.add("owner/odd", {**CHECKPOINT, "config.json": json.dumps({"architectures": ["OddForCausalLM"]})})
    with pytest.raises(
        UnsupportedModelError,
        match=r'owner--odd.*the architecture "OddForCausalLM" is not one of genai.s families',
    ):
        prepare_model("owner/odd")
    hub.add("owner/broken", {**CHECKPOINT, "config.json": "{"})
    with pytest.raises(CheckpointError, match=r"owner--broken.*config.json: cannot be read as JSON"):
        prepare_model("owner/broken")
    hub.add("owner/name", CHECKPOINT)
    with pytest.raises(OptionError, match=r'precision must be one of .*, not "int5"'):
        prepare_model("owner/name", precision="int5")
    assert hub.downloads().keys() == {"config.json"}


def test_two_threads_prepare_it_once(hub: HubServer, exporter: Exporter):
    hub.add("owner/name", CHECKPOINT)
    folders: list[ModelFolder] = []
    threads = [threading.Thread(target=lambda: folders.append(prepare_model("owner/name"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(exporter.calls) == 1
    assert hub.downloads()["model.safetensors"] == 1
    assert len(folders) == 3
    assert folders[0] == folders[1] == folders[2]


def test_download_and_export_report_to_one_callback(hub: HubServer, exporter: Exporter):
    hub.add("owner/name", CHECKPOINT)
    calls: list[tuple[str, int, int]] = []
    prepare_model("owner/name", progress=lambda *call: calls.append(call))
    assert [what for what, _, _ in dict.fromkeys((what, 0, 0) for what, _, _ in calls)] == [
        "Downloading owner/name",
        "Exporting by other means",
        "Exporting name to int4",
    ]
    assert calls[-1] == ("Exporting name to int4", 10, 20)


def test_the_last_network_error_is_the_message(hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    point_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(ModelNotFoundError, match="cannot be reached"):
        prepare_model("phi")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither a model folder"),
        ({"genai_config.json": MODEL_FOLDER["genai_config.json"]}, "model.onnx, .* is missing"),
        ({"config.json": "{}", "weights.pth": b""}, "weights.pth, which genai does not read"),
    ],
)
def test_a_folder_that_holds_no_model(files: dict[str, bytes | str], message: str, tmp_path: Path):
    with pytest.raises(GenaiError, match=message):
        prepare_model(write(tmp_path / "folder", files))


def test_the_store_may_be_elsewhere(hub: HubServer, exporter: Exporter, tmp_path: Path):
    hub.add("owner/name", CHECKPOINT)
    folder = prepare_model("owner/name", store=Store(tmp_path / "elsewhere"))
    assert folder.path.is_relative_to(tmp_path / "elsewhere")


PREPARE = """
import sys
from genai.prepare import prepare_model
folder = prepare_model(sys.argv[1], progress=lambda what, done, total: print(what, file=sys.stderr))
print(folder.path)
"""


def test_the_whole_way_in_two_processes_at_once(tmp_path: Path):
    """A random checkpoint is served as phi's stand-in; only environment variables say where the hub is."""
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    with serve() as server:
        commit = server.add(PHI, checkpoint)
        environment = {**os.environ, **server.environment(tmp_path / "home")}
        command = [sys.executable, "-W", "error", "-c", PREPARE, "phi"]
        processes = [
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        results = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], results
        paths = {Path(output.strip()) for output, _ in results}
        assert len(paths) == 1
        folder = ModelFolder.load(paths.pop())
        assert folder.manifest is not None
        assert (folder.manifest.source, folder.manifest.revision) == (PHI, commit)
        assert folder.manifest.precision == "int4"
        assert server.downloads()["model.safetensors"] == 1
        assert sum("Exporting" in notes for _, notes in results) == 1

        offline = {**environment, "HF_HUB_OFFLINE": "1"}
        server.requests.clear()
        output = subprocess.run(command, env=offline, stdout=subprocess.PIPE, text=True, check=True).stdout
        assert Path(output.strip()) == folder.path
        assert server.requests == []


def test_a_model_folder_of_symbolic_links_runs(hub: HubServer, tmp_path: Path):
    """The hub's cache is made of links, which ONNX Runtime follows to external data (onnx and onnx-ir do not)."""
    onnxruntime = pytest.importorskip("onnxruntime")
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    genai.export.export_model(checkpoint, tmp_path / "model")
    hub.add("owner/onnx", tmp_path / "model")
    folder = prepare_model("owner/onnx")
    onnxruntime.InferenceSession(folder.model_path, providers=["CPUExecutionProvider"])
    data = folder.path / "model.onnx.data"
    assert data.is_file()
    assert data.is_symlink() or sys.platform == "win32"


@pytest.mark.parametrize(
    ("provider", "form"),
    [
        ("cpu", "cpu"),
        ("tensorrt", "cuda"),
        ("CUDA", "cuda"),
        ("DmlExecutionProvider", "directml"),
        ("qnn", "cpu"),
    ],
)
def test_an_export_has_the_form_of_the_provider(
    hub: HubServer, exporter: Exporter, tmp_path: Path, provider: str, form: str
):
    hub.add("owner/name", CHECKPOINT)
    folder = prepare_model("owner/name", provider=provider, store=Store(tmp_path / "store"))
    assert folder.manifest is not None
    assert folder.manifest.settings["provider"] == form
    assert ("provider=cuda" in folder.path.name) == (form == "cuda"), "each form has a place of its own"
