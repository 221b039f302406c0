"""What layers read, run one after the other, is what transformers' modules read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genai.calibration.layer_run import LayerRun, embed_tokens, run_layer
from genai.config import ExportSettings
from genai.errors import UnsupportedModelError
from genai.export import open_weights, plan_export
from genai.export.build.decoder_parts import check_parts, num_separable
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint

MODULES: Mapping[str, str] = {
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}

SEQUENCES = [np.random.default_rng(seed).integers(3, VOCAB_SIZE, 40) for seed in range(3)]


def run_all(checkpoint: Path, tmp_path: Path) -> tuple[list[LayerRun], int]:
    """Run all layers that can be run alone; return them, and how many the decoder has."""
    plan = plan_export(checkpoint, ExportSettings())
    assert plan.native is not None
    spec = plan.native.spec.limited_to(len(SEQUENCES[0]))
    check_parts(spec)
    parameters = open_weights(plan, plan.native)
    runs, hidden = [], embed_tokens(parameters, spec, SEQUENCES, beside=tmp_path)
    for index in range(num_separable(spec)):
        runs.append(run_layer(parameters, spec, index, hidden, beside=tmp_path))
        hidden = runs[-1].outputs
    assert not list(tmp_path.glob("tmp*")), "nothing is left"
    return runs, len(spec.layers)


def reference_grams(checkpoint: Path) -> dict[str, NDArray[np.float32]]:
    """The sum of x xᵀ of what each linear module reads, by genai's names."""
    model, grams = load_reference(checkpoint), {}
    layers = model.model.layers
    for index, layer in enumerate(layers):
        for ours, theirs in MODULES.items():

            def keep(_: object, inputs: tuple[torch.Tensor], name: str = f"layers.{index}.{ours}") -> None:
                x = inputs[0].reshape(-1, inputs[0].shape[-1])
                grams[name] = grams.get(name, 0) + x.T @ x

            layer.get_submodule(theirs).register_forward_pre_hook(keep)
    with torch.no_grad():
        for sequence in SEQUENCES:
            model(torch.tensor(sequence[None]))
    return {name: gram.numpy() for name, gram in grams.items()}


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_layers_read_what_transformers_modules_read(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    runs, _ = run_all(checkpoint, tmp_path)
    expected = reference_grams(checkpoint)
    found = {path: read.gram for run in runs for read in run.inputs for path in read.modules}
    assert found.keys() == expected.keys()
    for name, gram in expected.items():
        np.testing.assert_allclose(found[name], gram, rtol=1e-3, atol=1e-4 * np.abs(gram).max(), err_msg=name)


@pytest.mark.parametrize(
    ("family", "norms"),
    [
        ("llama", {"input_norm", "mlp_norm"}),
        ("gemma3_text", {"input_norm", "mlp_norm"}),
        ("gptj", {"input_norm"}),
        ("olmo2", set()),  # its norms come after the products
        ("olmo", set()),  # its norms have no weights
        ("gpt2", {"input_norm", "mlp_norm"}),
        ("mixtral", {"input_norm"}),  # a kernel of experts reads the other one
        ("qwen3_next", {"input_norm"}),
        ("lfm2", {"input_norm", "mlp_norm"}),
    ],
)
def test_norms_whose_outputs_only_matrices_read(family: str, norms: set[str], tmp_path: Path) -> None:
    (first, *_), _ = run_all(make_checkpoint(family, tmp_path / "checkpoint"), tmp_path)
    producers = [read.producer for read in first.inputs if read.producer is not None]
    found = {name for each in producers if each.module is None for name in each.vectors}
    assert {name for name in found if not name.endswith("bias")} == {
        f"layers.0.{norm}.weight" for norm in norms
    }


@pytest.mark.parametrize(
    ("family", "pairs"),
    [
        ("llama", {"attention.v": "attention.output", "mlp.up": "mlp.down"}),
        ("gpt2", {"attention.v": "attention.output"}),  # what comes after an activation is no multiple
        ("olmo", {"mlp.up": "mlp.down"}),  # its values are clipped
        ("deepseek_v2", {"mlp.up": "mlp.down"}),
    ],
)
def test_matrices_whose_outputs_another_reads(family: str, pairs: dict[str, str], tmp_path: Path) -> None:
    (first, *_), _ = run_all(make_checkpoint(family, tmp_path / "checkpoint"), tmp_path)
    found = {
        read.producer.module: read.modules
        for read in first.inputs
        if read.producer is not None and read.producer.module is not None
    }
    assert found == {f"layers.0.{one}": (f"layers.0.{other}",) for one, other in pairs.items()}


def test_layers_that_read_anothers_cache_are_left_out(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma4_text", tmp_path / "checkpoint", hidden_size_per_layer_input=0)
    runs, num_layers = run_all(checkpoint, tmp_path)
    assert (len(runs), num_layers) == (3, 5)


@pytest.mark.parametrize("family", ["gemma3n_text", "gemma4_text"])
def test_layers_with_more_than_one_stream_are_refused(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    with pytest.raises(UnsupportedModelError, match="its layers read more"):
        run_all(checkpoint, tmp_path)
