from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from genai.config import GenerationConfig
from genai.errors import ModelFolderError
from genai.folder import ModelFolder
from genai.runtime import Decoder
from genai.runtime.adapt import locate_weights, read_model
from tests.foreign.external_data import save_with_external_data
from tests.runtime.tiny_graphs import Reference, TinyGraph, shared_attention
from tests.spans import score


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    """A folder whose weights lie in two files beside the graph."""
    model = TinyGraph().add(shared_attention).model()
    (tmp_path / "model").mkdir()
    folder = TinyGraph().add(shared_attention).folder(tmp_path / "model")
    save_with_external_data(model, folder.model_path, num_files=2)
    return folder


def linked(folder: ModelFolder, path: Path) -> ModelFolder:
    """Return a copy as the Hugging Face cache holds it: links to files that are named by their content."""
    snapshot, blobs = path / "snapshots" / "commit", path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, file in enumerate(sorted(folder.path.iterdir())):
        shutil.copy(file, blobs / f"blob{i}")
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", f"blob{i}"))
    return ModelFolder(snapshot, folder.decoder, GenerationConfig(), None)


def test_weights_behind_links_run(folder: ModelFolder, tmp_path: Path) -> None:
    expected = Reference(TinyGraph().add(shared_attention).model())([3, 1, 4])
    for each in (folder, linked(folder, tmp_path / "cache")):
        decoder = Decoder(each, num_threads=1)
        slot = decoder.cache.acquire([])
        assert abs(score(decoder, slot, [3, 1, 4]) - expected).max() < 1e-5


def test_names_count_from_where_the_files_are(folder: ModelFolder, tmp_path: Path) -> None:
    names = {"model.onnx_data", "model.onnx_data_1"}
    model = read_model(folder.model_path)
    assert locate_weights(model, folder.path) == folder.path.resolve()
    assert names_of(model) == names
    cache = linked(folder, tmp_path / "cache")
    model = read_model(cache.model_path)
    assert locate_weights(model, cache.path) == (tmp_path / "cache" / "blobs").resolve()
    assert names_of(model) == {"blob1", "blob2"}


def names_of(model: onnx.ModelProto) -> set[str]:
    return {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }


@pytest.mark.parametrize("name", ["../model.onnx_data", "/etc/passwd", "sub/../../x"])
def test_weights_outside_the_folder_are_refused(folder: ModelFolder, name: str) -> None:
    model = read_model(folder.model_path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    next(entry for entry in tensor.external_data if entry.key == "location").value = name
    with pytest.raises(ModelFolderError, match="names weights outside the folder"):
        locate_weights(model, folder.path)


def test_missing_weights_are_named(folder: ModelFolder) -> None:
    (folder.path / "model.onnx_data_1").unlink()
    with pytest.raises(
        ModelFolderError, match=r"model\.onnx_data_1, which holds the graph's weights, is missing"
    ):
        Decoder(folder, num_threads=1)
