"""What peers convert from: the same model as a checkpoint and as a GGUF file, and one whose weights lie on no grid."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from genai.export.checkpoint.gguf.checkpoint import GgufCheckpoint
from scripts.peers.gguf_files import break_grid, gguf_of_checkpoint
from tests.checkpoints import make_checkpoint


def logits_of(checkpoint: Path, tensors: GgufCheckpoint) -> torch.Tensor:
    """Return what a checkpoint's model computes with the weights of a GGUF file."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    state = {name: torch.from_numpy(np.array(tensors[name][:], np.float32)) for name in tensors.keys()}  # noqa: SIM118
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    with torch.no_grad():
        logits: torch.Tensor = model(torch.arange(3, 40)[None]).logits
    return logits


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_a_gguf_file_has_the_weights_of_its_checkpoint(model_type: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(model_type, tmp_path / "checkpoint")
    gguf_of_checkpoint(checkpoint, tmp_path / "model.gguf")
    found = GgufCheckpoint.open(tmp_path / "model.gguf")
    expected = load_file(checkpoint / "model.safetensors")
    assert set(found.keys()) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name][:], tensor.float().numpy(), atol=1e-3, err_msg=name)
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    for key in ("hidden_size", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters"):
        assert found.config[key] == pytest.approx(config[key]), key


def test_weights_off_their_grid_compute_the_same(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    gguf_of_checkpoint(checkpoint, tmp_path / "model.gguf")
    break_grid(tmp_path / "model.gguf", tmp_path / "broken.gguf")
    types = {tensor.tensor_type for tensor in gguf.GGUFReader(tmp_path / "broken.gguf").tensors}
    assert types == {gguf.GGMLQuantizationType.F32}
    before, after = (GgufCheckpoint.open(tmp_path / f"{name}.gguf") for name in ("model", "broken"))
    name = "model.layers.0.mlp.down_proj.weight"
    assert not np.allclose(before[name][:], after[name][:], rtol=1e-2)
    torch.testing.assert_close(
        logits_of(checkpoint, after), logits_of(checkpoint, before), rtol=1e-3, atol=1e-4
    )
