"""MXFP4 as gpt-oss is published: read as transformers reads it, and exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from genai.errors import CheckpointError
from genai.export import export_model
from genai.export.checkpoint.quantized.fp4 import MXFP4_BLOCK, fp4_rows, half_powers
from genai.export.checkpoint.rows import Rows, codes_of
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner, without_worst_positions

PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()
WIDTHS = {"hidden_size": 64, "intermediate_size": 96}


def random_mxfp4(shape: tuple[int, ...], *, low: int = 0, high: int = 254) -> tuple[np.ndarray, np.ndarray]:
    """Random blocks, uint8 [..., blocks, 16], and scales, uint8 [..., blocks]."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (*shape, 16)).astype(np.uint8)
    return blocks, rng.integers(low, high + 1, shape).astype(np.uint8)


def decoded_by_transformers(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """float32 [experts, rows, columns]."""
    tensors = torch.from_numpy(blocks), torch.from_numpy(scales)
    return convert_moe_packed_tensors(*tensors, dtype=torch.float32).swapaxes(1, 2).numpy()


def mxfp4_rows(blocks: np.ndarray, scales: np.ndarray) -> Rows:
    packed = blocks.reshape(len(blocks), -1)
    return fp4_rows(packed, scales, half_powers, block=MXFP4_BLOCK, method="mxfp4")


def test_bytes_mean_what_they_mean_to_transformers() -> None:
    blocks, scales = random_mxfp4((2, 9, 5), low=1)  # torch takes 2**-127 for 0
    expected = decoded_by_transformers(blocks, scales)
    for expert in range(2):
        rows = mxfp4_rows(blocks[expert], scales[expert])
        assert rows.shape == (9, 160)
        assert len(rows) == 9
        np.testing.assert_array_equal(rows[:], expected[expert])
        np.testing.assert_array_equal(rows[2:5], expected[expert, 2:5])
        for first, last in ((0, 160), (5, 6), (31, 33), (64, 96), (70, 70)):
            np.testing.assert_array_equal(rows[:, first:last], expected[expert, :, first:last])
        matrix = codes_of(rows)
        assert matrix is not None
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(matrix.dequantize(), expected[expert])


def test_a_scale_of_255_is_no_number() -> None:
    rows = mxfp4_rows(np.zeros((1, 2, 16), np.uint8), np.asarray([[127, 255]], np.uint8))
    np.testing.assert_array_equal(np.isnan(rows[:]), [[False] * 32 + [True] * 32])


def make_published(path: Path) -> Path:
    """Save gpt-oss with experts in MXFP4, and beside it, at `path` + "-floats", the same decoded."""
    floats = make_checkpoint("gpt_oss", path.with_name(f"{path.name}-floats"), **WIDTHS)
    tensors = load_file(floats / "model.safetensors")
    decoded = dict(tensors)
    for name, array in tensors.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            num_experts, num_columns, num_rows = array.shape
            blocks, scales = random_mxfp4((num_experts, num_rows, num_columns // 32), low=121, high=124)
            decoded[name] = np.ascontiguousarray(decoded_by_transformers(blocks, scales).swapaxes(1, 2))
    save_file(decoded, floats / "model.safetensors", {"format": "pt"})
    packed = {
        name: array for name, array in decoded.items() if not name.endswith(("gate_up_proj", "down_proj"))
    }
    for name in decoded.keys() - packed.keys():
        num_experts, num_columns, num_rows = decoded[name].shape
        packed[f"{name}_blocks"], packed[f"{name}_scales"] = random_mxfp4(
            (num_experts, num_rows, num_columns // 32), low=121, high=124
        )
    path.mkdir()
    save_file(packed, path / "model.safetensors")
    config = json.loads((floats / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (path / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / name).write_bytes((floats / name).read_bytes())
    return path


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_a_published_checkpoint_gives_the_model_of_its_decoded_weights(
    precision: str, tmp_path: Path
) -> None:
    checkpoint = make_published(tmp_path / "published")
    exported = export_model(checkpoint, tmp_path / "model", precision=precision, via="native")
    decoded = tmp_path / "published-floats"
    same = export_model(decoded, tmp_path / "same", precision=precision, via="native")
    assert exported.manifest is not None
    assert same.manifest is not None
    assert exported.manifest.files["model.onnx.data"] == same.manifest.files["model.onnx.data"]
    with torch.no_grad():
        expected = load_reference(decoded)(torch.tensor([PROMPT])).logits[0].numpy()
    found = GraphRunner(exported).feed(PROMPT)
    if precision == "fp32":
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    else:
        found, expected = without_worst_positions(found, expected, share=0.5)
        bound = {"int8": 0.05, "int4": 0.3}[precision]
        assert np.linalg.norm(found - expected) < bound * np.linalg.norm(expected)


def test_experts_are_kept_as_codes_of_twice_their_numbers(tmp_path: Path) -> None:
    """On a CPU QMoE has int8 activations alone at 8 bits, which is what the logits differ by."""
    checkpoint = make_published(tmp_path / "published")
    exported = export_model(checkpoint, tmp_path / "model", precision="keep", via="native")
    model = onnx.load(exported.model_path)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    codes, scales = (stored[f"layers.1.mlp.experts.down.{part}"] for part in ("weight", "scales"))
    kept = (codes.astype(np.float32) - 128) * np.repeat(scales, MXFP4_BLOCK, axis=-1)
    decoded = load_file(tmp_path / "published-floats" / "model.safetensors")
    np.testing.assert_array_equal(kept, decoded["model.layers.1.mlp.experts.down_proj"].swapaxes(1, 2))
    with torch.no_grad():
        expected = load_reference(tmp_path / "published-floats")(torch.tensor([PROMPT])).logits[0].numpy()
    found, expected = without_worst_positions(GraphRunner(exported).feed(PROMPT), expected, share=0.5)
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    checkpoint = make_published(tmp_path / "published")
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.1.mlp.experts.down_proj_scales"
    save_file({**tensors, name: tensors[name][:, :-1].copy()}, path)
    with pytest.raises(
        CheckpointError, match=rf"{name}.*has shape \[5, 63, 3\], but the other tensors imply \[5, 64, 3\]"
    ):
        export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    save_file({**tensors, name: tensors[name].astype(np.int32)}, path)
    with pytest.raises(CheckpointError, match=rf"{name}.*type I32"):
        export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
