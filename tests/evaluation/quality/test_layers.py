"""The stream behind every layer is what PyTorch computes there, and its error is small where little was rounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from genai.errors import OptionError, ProviderError
from genai.evaluation.quality import Text, evaluate_quality, packaged_texts
from genai.evaluation.quality.layers import layer_errors
from genai.folder import ModelFolder
from genai.generator import Generator
from genai.runtime.layer_outputs import layer_outputs

Folders = Callable[..., tuple[Path, Path]]
TEXT = Text("prose", packaged_texts()[0].content[:400])
TOKEN_IDS = [7, 100, 23, 5, 300, 8, 8, 41]


@pytest.mark.parametrize("family", ["llama", "phi", "olmo2", "exaone4", "bloom", "gemma2", "lfm2"])
def test_streams_are_those_of_transformers(model_folder: Folders, family: str) -> None:
    checkpoint, folder = model_folder(family)
    outputs = layer_outputs(ModelFolder.load(folder), TOKEN_IDS, provider="cpu")
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([TOKEN_IDS]), output_hidden_states=True).hidden_states
    assert len(outputs) == len(hidden) - 1
    # transformers gives the last one behind the final norm.
    for output, expected in zip(outputs[:-1], hidden[1:-1], strict=True):
        np.testing.assert_allclose(output, expected[0].numpy(), atol=1e-4)


def test_errors_grow_with_rounding(tiny: Generator, tiny_int4: Generator, model_folder: Folders) -> None:
    assert layer_errors(tiny, tiny, TOKEN_IDS) == (0.0, 0.0)
    with Generator(model_folder("llama", precision="int8")[1], provider="cpu", num_threads=1) as int8:
        little = layer_errors(int8, tiny, TOKEN_IDS)
    report = evaluate_quality(tiny_int4, against=tiny, texts=[TEXT], layers=True)
    assert report.layer_errors is not None
    assert len(report.layer_errors) == tiny.folder.decoder.num_layers
    assert all(0 < a < b < 1 for a, b in zip(little, report.layer_errors, strict=True))
    assert report.to_json()["layer_errors"] == list(report.layer_errors)


def test_layers_without_a_reference(tiny: Generator) -> None:
    with pytest.raises(OptionError, match="distance from a reference"):
        evaluate_quality(tiny, texts=[TEXT], layers=True)


def test_other_layers(tiny: Generator, demo: Generator) -> None:
    with pytest.raises(OptionError, match="have different layers: 2 of shape"):
        layer_errors(tiny, demo, TOKEN_IDS)


def test_layers_run_where_the_model_does(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def outputs(folder: ModelFolder, token_ids: list[int], **options: Any) -> list[np.ndarray]:
        asked.append(options)
        return layer_outputs(folder, token_ids, provider="cpu")

    monkeypatch.setattr("genai.evaluation.quality.layers.layer_outputs", outputs)
    loaded = dataclasses.replace(tiny._runner.loaded, device_id=1, provider_library="plugin.so")
    monkeypatch.setattr(tiny._runner, "_loaded", loaded)
    layer_errors(tiny, tiny, TOKEN_IDS)
    assert asked == [{"provider": "cpu", "device_id": 1, "provider_library": "plugin.so"}] * 2
    with pytest.raises(OptionError, match="device_id must be 0"):
        layer_outputs(tiny.folder, TOKEN_IDS, provider="cpu", device_id=1)
    with pytest.raises(ProviderError, match="is not there"):
        layer_outputs(tiny.folder, TOKEN_IDS, provider_library="/none.so")


def test_a_graph_that_does_not_name_its_layers(model_folder: Folders, tmp_path: Path) -> None:
    folder = model_folder("llama")[1]
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    for node in model.graph.node:
        node.name = node.name.replace("layers.", "blocks.")
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(OptionError, match="does not name its layers"):
        layer_outputs(ModelFolder.load(tmp_path), TOKEN_IDS)
