"""Whole exports by the installed transformers' exporter: the same logits and tokens as transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from genai import Generator
from genai.errors import UnsupportedModelError
from genai.export import export_model
from genai.folder import ModelFolder
from tests.checkpoints import load_reference, make_checkpoint
from tests.export.foreign.models import FAMILIES, greedy, make_foreign_checkpoint
from tests.export.test_folder import peer_greedy, until_eos

PROMPTS = ([5, 17, 250, 33, 8, 91, 120], [7, 300, 12], [44])


def assert_equals_transformers(folder: ModelFolder, reference: transformers.PreTrainedModel) -> None:
    """Logits within 1e-4, the same 64 greedy tokens, and in a batch of different lengths the same as alone."""
    with Generator(folder.path, provider="cpu", num_threads=1) as generator:
        prompt = PROMPTS[0]
        with torch.no_grad():
            expected = reference(input_ids=torch.tensor([prompt])).logits[0].numpy()
        np.testing.assert_allclose(generator.logits(token_ids=prompt), expected, rtol=0, atol=1e-4)
        alone = [greedy(reference, prompt, 64) for prompt in PROMPTS]
        options = {"max_new_tokens": 64, "ignore_eos": True, "do_sample": False}
        results = generator.generate(token_ids=[list(prompt) for prompt in PROMPTS], **options)
        assert [list(result.token_ids) for result in results] == alone


def export(checkpoint: Path, folder: Path) -> ModelFolder:
    """Export by transformers' exporter and see that the manifest names it."""
    made = export_model(checkpoint, folder, via="transformers", precision="fp32")
    assert made.manifest is not None
    assert made.manifest.exporter == "transformers"
    assert made.manifest.exporter_notes["largest_deviation"] < 1e-3
    return made


def test_the_installed_transformers_still_exports(tmp_path: Path) -> None:
    """One small decoder in the default run, so that a release that breaks the exporter is noticed at once."""
    checkpoint = make_foreign_checkpoint("biogpt", tmp_path / "checkpoint", num_hidden_layers=1)
    folder = export(checkpoint, tmp_path / "model")
    assert folder.manifest is not None
    assert folder.manifest.versions["transformers"] == transformers.__version__


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, tmp_path: Path) -> None:
    checkpoint = make_foreign_checkpoint(family, tmp_path / "checkpoint")
    folder = export(checkpoint, tmp_path / "model")
    # Both kinds of cache are tried: one that is written in place, and one that grows.
    assert folder.decoder.search["past_present_share_buffer"] == (family not in ("gpt_neo", "persimmon"))
    reference = load_reference(checkpoint)
    assert_equals_transformers(folder, reference)
    expected = until_eos(greedy(reference, PROMPTS[0], 24), reference.config.eos_token_id)
    assert until_eos(peer_greedy(folder, PROMPTS[0], 24), reference.config.eos_token_id) == expected


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemma2", "llama", "gpt2"])
def test_families_that_are_native_too(family: str, tmp_path: Path) -> None:
    """Beyond a sliding window, with soft caps, with a tied head."""
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    folder = export(checkpoint, tmp_path / "model")
    assert_equals_transformers(folder, load_reference(checkpoint))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.01), ("int8", 0.05), ("int4", 0.5)])
def test_other_precisions_are_close(precision: str, tolerance: float, tmp_path: Path) -> None:
    checkpoint = make_foreign_checkpoint("biogpt", tmp_path / "checkpoint")
    folder = export_model(checkpoint, tmp_path / "model", precision=precision, via="transformers")
    with torch.no_grad():
        expected = load_reference(checkpoint)(input_ids=torch.tensor([PROMPTS[0]])).logits[0].numpy()
    with Generator(folder.path, provider="cpu", num_threads=1) as generator:
        found = generator.logits(token_ids=PROMPTS[0])
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < tolerance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "message"),
    [
        # Before transformers 5.24 its states were an argument of their own.
        ("mamba", "it keeps a state other than keys and values|takes input_ids, .*, cache_params"),
        ("recurrent_gemma", "it keeps a state other than keys and values"),
    ],
)
def test_other_states_are_refused(family: str, message: str, tmp_path: Path) -> None:
    checkpoint = make_foreign_checkpoint(family, tmp_path / "checkpoint")
    with pytest.raises(UnsupportedModelError, match=message):
        export_model(checkpoint, tmp_path / "model", via="transformers")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.slow
def test_rotations_that_depend_on_the_length_are_refused(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", rope_parameters=rope)
    with pytest.raises(UnsupportedModelError, match=r"depend on the length \(dynamic\)"):
        export_model(checkpoint, tmp_path / "model", via="transformers")


@pytest.mark.slow
def test_a_checkpoint_without_some_weights_is_refused(tmp_path: Path) -> None:
    """transformers would fill the gap with random numbers."""
    checkpoint = make_foreign_checkpoint("gpt_bigcode", tmp_path / "checkpoint")
    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["transformer.h.1.ln_1.weight"]
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UnsupportedModelError, match=r"lacks 1 of its weights, such as transformer.h.1.ln_1.weight"
    ):
        export_model(checkpoint, tmp_path / "model", via="transformers")


@pytest.mark.slow
def test_a_checkpoint_with_weights_that_nothing_uses_is_refused(tmp_path: Path) -> None:
    checkpoint = make_foreign_checkpoint("gpt_bigcode", tmp_path / "checkpoint")
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["transformer.h.0.adapter.weight"] = tensors["transformer.h.1.ln_1.weight"].copy()
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UnsupportedModelError,
        match=r"has 1 tensors that the model does not use, such as transformer.h.0.adapter",
    ):
        export_model(checkpoint, tmp_path / "model", via="transformers")


@pytest.mark.slow
def test_bf16_is_a_valid_graph(tmp_path: Path) -> None:
    """No kernel of a CPU computes it, so only its types can be checked."""
    checkpoint = make_foreign_checkpoint("gpt_bigcode", tmp_path / "checkpoint")
    folder = export_model(checkpoint, tmp_path / "model", precision="bf16", via="transformers")
    onnx.checker.check_model(folder.model_path)
    weights = onnx.load(folder.model_path, load_external_data=False).graph.initializer
    matrices = {tensor.data_type for tensor in weights if len(tensor.dims) == 2 and tensor.dims[0] > 1}
    assert matrices == {onnx.TensorProto.BFLOAT16}
    assert folder.manifest is not None
    assert folder.manifest.exporter_notes["largest_deviation"] is None
