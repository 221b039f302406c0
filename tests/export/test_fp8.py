"""Checkpoints in 8-bit floats with block scales: read as the numbers that they stand for."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from genai.errors import CheckpointError, GenaiError, UnsupportedModelError
from genai.export import export_model
from genai.export.checkpoint.quantized.scaled import ScaledRows
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(3).integers(3, VOCAB_SIZE, 24).tolist()
BLOCK = 16


def in_fp8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, scales by block, and what they stand for."""
    rows, columns = weight.shape
    scales = torch.zeros(-(-rows // BLOCK), -(-columns // BLOCK))
    codes, decoded = torch.empty(rows, columns, dtype=torch.float8_e4m3fn), torch.empty(rows, columns)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            where = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
            scales[i, j] = weight[where].abs().max() / 448
            codes[where] = (weight[where] / scales[i, j]).to(torch.float8_e4m3fn)
            decoded[where] = codes[where].float() * scales[i, j]
    return codes, scales, decoded


@pytest.mark.parametrize("family", ["deepseek_v3", "qwen3"])
def test_an_fp8_checkpoint_is_exported_as_what_it_stands_for(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    tensors, stored = load_file(checkpoint / "model.safetensors"), {}
    for name, tensor in tensors.items():
        if name.endswith(("_proj.weight", "_with_mqa.weight")):
            stored[name], stored[f"{name}_scale_inv"], tensors[name] = in_fp8(tensor)
        else:
            stored[name] = tensor
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor([PROMPT])).logits[0].numpy()
    save_file(stored, checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
    (checkpoint / "config.json").write_text(json.dumps(config))
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=1e-4, rtol=0)


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), data=st.data())
def test_any_slice_is_a_slice_of_the_decoded_matrix(rows: int, columns: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(rows * 41 + columns)
    codes = rng.integers(0, 127, (rows, columns), np.uint8)
    scales = rng.random((-(-rows // 8), -(-columns // 16))).astype(np.float32)
    matrix = ScaledRows(codes.view(ml_dtypes.float8_e4m3fn), scales, (8, 16))
    whole = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    whole *= np.repeat(np.repeat(scales, 8, 0), 16, 1)[:rows, :columns]
    key = data.draw(st.tuples(st.slices(rows), st.slices(columns)))
    np.testing.assert_array_equal(matrix[key], whole[key])
    np.testing.assert_array_equal(matrix[key[0]], whole[key[0]])


def test_scales_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CheckpointError, match="do not fit"):
        ScaledRows(np.zeros((20, 20), np.uint8), np.zeros((2, 2), np.float32), (8, 16))


NAME = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("family", "name", "dtype", "block", "error", "part"),
    [
        ("qwen3", NAME, torch.float8_e5m2, BLOCK, CheckpointError, "has type F8_E5M2; expected F8_E4M3"),
        ("qwen3", NAME, torch.int8, BLOCK, CheckpointError, "has type I8; expected F8_E4M3"),
        (
            "gpt_oss",
            "model.layers.0.mlp.experts.gate_up_proj",
            torch.float8_e4m3fn,
            BLOCK,
            UnsupportedModelError,
            "only matrices",
        ),
        (
            "gpt2",
            "transformer.h.0.attn.c_attn.weight",
            torch.float8_e4m3fn,
            BLOCK,
            CheckpointError,
            "config.json implies",
        ),
    ],
    ids=["another float", "integers", "stacked experts", "transposed"],
)
def test_what_is_stored_otherwise_is_refused(
    family: str,
    name: str,
    dtype: torch.dtype,
    block: int,
    error: type[GenaiError],
    part: str,
    tmp_path: Path,
) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    sizes = tensors[name].shape
    tensors[f"{name}_scale_inv"] = torch.ones([-(-n // BLOCK) for n in sizes])
    tensors[name] = tensors[name].to(dtype)
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((checkpoint / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [block, block]}
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(error, match=part):
        export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
