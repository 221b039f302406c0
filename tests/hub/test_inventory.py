from __future__ import annotations

import json
from pathlib import Path

import pytest

from genai.config import ExportSettings
from genai.errors import ModelNotFoundError
from genai.folder import Manifest, ModelFolder, staged_folder
from genai.hub import (
    ExportKey,
    HubModel,
    Store,
    fetch,
    find_model,
    find_preset,
    find_snapshot,
    list_models,
    remove_model,
)
from tests.hub_server import HubServer

DECODER = {
    "model": {
        "type": "phi3", "vocab_size": 8, "context_length": 16, "eos_token_id": 1,
        "decoder": {
            "filename": "model.onnx", "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
            "num_key_value_heads": 1, "head_size": 4,
        },
    }
}  # fmt: skip


def add_export(store: Store, source: str, revision: str = "a" * 40, precision: str = "int4") -> Path:
    def make(target: Path) -> ModelFolder:
        manifest = Manifest(source, revision, "Phi3ForCausalLM", precision, {}, {}, {}, "2026-11-21", {})
        with staged_folder(target) as folder:
            (folder / "genai_config.json").write_text(json.dumps(DECODER))
            (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
            (folder / "model.onnx").write_bytes(b"graph")
        return ModelFolder.load(target)

    return store.find_or_make(ExportKey(source, revision, ExportSettings(precision)), make).path


def test_presets_are_listed_whether_here_or_not(hub: HubServer):
    entries = {entry.name: entry for entry in list_models()}
    assert entries["phi"].source == "microsoft/Phi-4-mini-instruct"
    assert not entries["phi"].is_here
    assert entries["demo"].is_here == find_preset(alias="demo").packaged_path.is_dir()


def test_downloads_and_exports_are_listed_with_their_sizes(
    hub: HubServer, checkpoint_files: dict[str, bytes | str], tmp_path: Path
):
    hub.add("microsoft/Phi-4-mini-instruct", checkpoint_files)
    hub.add("owner/runs", {"genai_config.json": "{}", "model.onnx": b"graph"})
    hub.add("owner/unrelated", checkpoint_files)
    for repo in hub.repos:
        fetch(find_snapshot(HubModel(repo)))
    store = Store()
    int4 = add_export(store, "microsoft/Phi-4-mini-instruct")
    add_export(store, "microsoft/Phi-4-mini-instruct", precision="fp32")
    add_export(store, "owner/name:sub")
    add_export(store, str(tmp_path / "checkpoint"))
    entries = {entry.name: entry for entry in list_models() if entry.is_here and not entry.is_packaged}
    assert set(entries) == {"phi", "owner/runs", "owner/name", str(tmp_path / "checkpoint")}
    phi = entries["phi"]
    assert {export.precision for export in phi.exports} == {"int4", "fp32"}
    assert int4 in [export.path for export in phi.exports]
    assert phi.export_bytes == sum(export.size_bytes for export in phi.exports) > 0
    assert phi.download_bytes == sum(
        len(checkpoint_files[name]) for name in checkpoint_files if name != "README.md"
    )
    assert entries["owner/runs"].exports == ()
    assert entries["owner/name"].download_bytes == 0


def test_one_model_by_any_of_its_names(
    hub: HubServer, checkpoint_files: dict[str, bytes | str], tmp_path: Path
):
    assert find_model("phi4") == find_model("microsoft/Phi-4-mini-instruct") == find_model("phi")
    assert find_model("demo").preset == find_preset(alias="demo")
    assert not find_model("owner/name").is_here
    hub.add("owner/name", checkpoint_files)
    fetch(find_snapshot(HubModel("owner/name")))
    assert find_model("owner/name").download_bytes > 7000
    (tmp_path / "checkpoint").mkdir()
    add_export(Store(), str(tmp_path / "checkpoint"))
    assert len(find_model(str(tmp_path / "checkpoint")).exports) == 1
    with pytest.raises(ModelNotFoundError, match="Did you mean"):
        find_model("phy")


def test_removal_of_exports_and_downloads(hub: HubServer, checkpoint_files: dict[str, bytes | str]):
    hub.add("microsoft/Phi-4-mini-instruct", checkpoint_files)
    fetch(find_snapshot(HubModel("microsoft/Phi-4-mini-instruct")))
    add_export(Store(), "microsoft/Phi-4-mini-instruct")
    before = find_model("phi")
    assert remove_model("phi") == before.export_bytes
    after = find_model("phi")
    assert (after.exports, after.download_bytes) == ((), before.download_bytes)
    with pytest.raises(ModelNotFoundError, match=r"has no exports to remove; its download .* \(--downloads"):
        remove_model("phi")
    assert remove_model("phi", downloads=True) == before.download_bytes
    assert not find_model("phi").is_here
    with pytest.raises(ModelNotFoundError, match="nothing to remove"):
        remove_model("phi", downloads=True)


def test_the_packaged_model_cannot_be_removed(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "demo_model").mkdir()
    monkeypatch.setattr("genai.hub.presets._PACKAGE", tmp_path)
    monkeypatch.setattr("genai.hub.presets.presets_folder", lambda: Path(__file__).parents[2] / "configs")
    with pytest.raises(ModelNotFoundError, match='"demo" comes with the package'):
        remove_model("demo", downloads=True)
