"""Graphs that keep a file's codes, against graphs of the floats that they stand for, in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType

from genai.config import ExportSettings
from genai.errors import CheckpointError
from genai.export import carry_out, plan_export
from genai.export.checkpoint.gguf.blocks import CARRIED
from genai.folder import ModelFolder
from tests.checkpoints import make_checkpoint
from tests.export.gguf.converter import write_gguf
from tests.export.gguf.test_types import random_tensor
from tests.export.runner import GraphRunner

TOKENS = list(range(7, 30))
MODULES = [
    "embedding",
    "head",
    *(f"layers.0.attention.{name}" for name in ("q", "k", "v", "output")),
    *(f"layers.0.mlp.{name}" for name in ("gate", "up", "down")),
]


def export(file: Path, folder: Path, precision: str, *, accuracy_level: int = 1) -> ModelFolder:
    """Export with products of float activations, so that only codes can make a difference."""
    plan = plan_export(file, ExportSettings(precision))
    exact = dataclasses.replace(plan.precision, accuracy_level=accuracy_level)
    return carry_out(dataclasses.replace(plan, precision=exact), folder)


def errors_of(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return how far the logits at each position are off."""
    return np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)


def weights_of(folder: ModelFolder) -> dict[str, Any]:
    assert folder.manifest is not None
    found: dict[str, Any] = folder.manifest.exporter_notes["quantized_weights"]
    return found


@pytest.mark.parametrize("type_name", [*sorted(CARRIED), "IQ3_S"])
def test_every_type_runs_as_it_is(type_name: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64, "num_hidden_layers": 1}
    file = write_gguf(make_checkpoint("llama", tmp_path / "checkpoint", **sizes), tmp_path / "floats.gguf")
    replaced = tmp_path / "model.gguf"
    replace_matrices(file, replaced, type_name)
    kept, floats = export(replaced, tmp_path / "kept", "keep"), export(replaced, tmp_path / "fp32", "fp32")
    found, expected = GraphRunner(kept).feed(TOKENS), GraphRunner(floats).feed(TOKENS)
    name = f"gguf-{type_name.lower()}"
    told = weights_of(kept)
    assert set(told.pop("parameters")) == {f"{module}.weight" for module in MODULES}
    if type_name in CARRIED:
        assert told == {"carried_over": {name: 9}}
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    else:
        assert told == {"decoded": {name: 9}}
        assert np.median(errors_of(found, expected)) < 0.05


@pytest.mark.parametrize("type_name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"])
def test_scales_stay_as_wide_as_they_are(
    type_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the bytes of float32, and the same logits to the last bit."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    file = write_gguf(make_checkpoint("llama", tmp_path / "checkpoint", **sizes), tmp_path / "floats.gguf")
    replaced = tmp_path / "model.gguf"
    replace_matrices(file, replaced, type_name)
    narrow = export(replaced, tmp_path / "narrow", "keep")
    scheme = dataclasses.replace(CARRIED[type_name].scheme, scale_type="float32")
    monkeypatch.setitem(CARRIED, type_name, dataclasses.replace(CARRIED[type_name], scheme=scheme))  # type: ignore[arg-type]
    wide = export(replaced, tmp_path / "wide", "keep")
    np.testing.assert_array_equal(GraphRunner(narrow).feed(TOKENS), GraphRunner(wide).feed(TOKENS))
    saved = size_of(wide) - size_of(narrow)
    num_weights = sum(each.n_elements for each in gguf.GGUFReader(replaced).tensors if len(each.shape) == 2)
    assert saved == pytest.approx(2 * num_weights / 32, rel=0.05)  # tensors begin at multiples of some bytes


def test_a_prompt_without_logits_runs(tmp_path: Path) -> None:
    """The head's offsets (Q4_K) are products of their own, here of no positions at all."""
    sizes = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64, "num_hidden_layers": 1}
    file = write_gguf(make_checkpoint("llama", tmp_path / "checkpoint", **sizes), tmp_path / "floats.gguf")
    replace_matrices(file, tmp_path / "model.gguf", "Q4_K")
    runner = GraphRunner(export(tmp_path / "model.gguf", tmp_path / "kept", "keep"))
    assert runner.feed(TOKENS, keep=0).shape[0] == 0
    assert np.isfinite(runner.feed([3], keep=1)).all()


def size_of(folder: ModelFolder) -> int:
    return (folder.path / "model.onnx.data").stat().st_size


def replace_matrices(file: Path, target: Path, type_name: str) -> None:
    """Write a file again with random blocks of a type in place of its matrices."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if not key.startswith(("GGUF.", "general.architecture")):
            kinds = (*field.types, None)
            writer.add_key_value(key, field.contents(), kinds[0], sub_type=kinds[1])
    for seed, each in enumerate(reader.tensors):
        shape = tuple(int(size) for size in each.shape[::-1])
        if len(shape) == 1:
            writer.add_tensor(each.name, np.array(each.data))
        else:
            blocks = random_tensor(type_name, seed=seed, shape=shape).rows
            writer.add_tensor(each.name, blocks, raw_dtype=GGMLQuantizationType[type_name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


Choose = Callable[[str], GGMLQuantizationType]
Q4_1, Q8_0 = GGMLQuantizationType.Q4_1, GGMLQuantizationType.Q8_0


@pytest.mark.parametrize(
    ("choose", "carried", "decoded"),
    [
        (lambda name: Q8_0, {"gguf-q8_0": 18}, {}),
        (lambda name: Q4_1, {"gguf-q4_1": 12}, {"gguf-q4_1": 6}),
        (lambda name: Q4_1 if "down" in name else Q8_0, {"gguf-q8_0": 12}, {"gguf-q8_0": 4, "gguf-q4_1": 2}),
    ],
    ids=["of one type", "with offsets", "of several types"],
)
def test_experts_are_kept_where_a_kernel_takes_them(
    choose: Choose, carried: dict[str, int], decoded: dict[str, int], tmp_path: Path
) -> None:
    overrides = {
        "hidden_size": 64,
        "moe_intermediate_size": 64,
        "mlp_only_layers": [],
        "num_hidden_layers": 2,
    }
    checkpoint = make_checkpoint("qwen3_moe", tmp_path / "checkpoint", **overrides)
    file = write_gguf(checkpoint, tmp_path / "model.gguf", quantize=lambda name, array: choose(name))
    kept = export(file, tmp_path / "kept", "keep", accuracy_level=4)
    found = weights_of(kept)
    assert {**found["carried_over"]} == carried
    assert found.get("decoded", {}) == decoded
    gate = found["parameters"]["layers.1.mlp.experts.gate.weight"]
    assert gate["carried_over"] == (not decoded)
    assert gate.get("stored", {}).get("bits") == (8 if decoded else None)
    logits, expected = (
        GraphRunner(each).feed(TOKENS) for each in (kept, export(file, tmp_path / "f", "fp32"))
    )
    assert np.median(errors_of(logits, expected)) < 0.05  # a token may go to another expert


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", **sizes)
    file = write_gguf(checkpoint, tmp_path / "model.gguf", quantize=lambda name, array: Q8_0)
    data = bytearray(file.read_bytes())
    reader = gguf.GGUFReader(file)
    at = next(int(each.data_offset) for each in reader.tensors if each.name == "blk.0.ffn_up.weight")
    data[at : at + 2] = np.float16(np.nan).tobytes()
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="mlp"):
        export(file, tmp_path / "kept", "keep")
    assert not (tmp_path / "kept").exists()
