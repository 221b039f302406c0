"""Adapters of PEFT in an export: every way to store a module, merged and beside, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from genai import Generator
from genai.cache import PrefixKey
from genai.config import ExportSettings
from genai.errors import CheckpointError, GenaiError, OptionError, UnsupportedModelError
from genai.export import export_model, plan_export
from genai.export.build.adapters import adapted_products
from genai.export.build.balance import balanced
from genai.export.build.decoder_graph import build_decoder
from genai.export.build.graph_builder import GraphBuilder
from genai.export.checkpoint.rows import RescaledRows
from genai.export.exporter import open_weights
from genai.folder import ModelFolder
from genai.model import Span
from genai.runtime import Decoder
from tests.adapters import make_adapter, reference_logits
from tests.checkpoints import make_checkpoint

PROMPT = [5, 6, 7, 8, 9, 4, 2, 11, 3, 1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("llama", tmp_path_factory.mktemp("llama") / "checkpoint")


@pytest.fixture(scope="module")
def adapter(checkpoint: Path) -> Path:
    return make_adapter(checkpoint, checkpoint.parent / "adapter")


@pytest.fixture
def changed(adapter: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies the adapter and changes its config, or its tensors."""

    def change(tensors: Callable[[dict[str, np.ndarray]], object] | None = None, **config: Any) -> Path:
        path = Path(shutil.copytree(adapter, tmp_path / "changed"))
        values = json.loads((path / "adapter_config.json").read_text())
        (path / "adapter_config.json").write_text(json.dumps({**values, **config}))
        if tensors is not None:
            found = load_file(path / "adapter_model.safetensors")
            tensors(found)
            save_file(found, path / "adapter_model.safetensors")
        return path

    return change


def logits(folder: ModelFolder, **options: Any) -> np.ndarray:
    with Generator(folder, provider="cpu", num_threads=1) as generator:
        return generator.logits(token_ids=PROMPT, **options)


ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
SHARED = [*ATTENTION, r"shared_expert.gate_proj", r"shared_expert.down_proj"]


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("qwen2", {}),  # biases
        ("phi3", {}),  # the checkpoint packs projections
        ("gpt2", {"fan_in_fan_out": True}),  # and stores matrices transposed
        ("gpt_neox", {}),  # and takes heads in turn
        pytest.param("gemma", {}, marks=pytest.mark.slow),
        pytest.param("gemma3_text", {}, marks=pytest.mark.slow),
        pytest.param("qwen3", {}, marks=pytest.mark.slow),
        pytest.param("falcon", {}, marks=pytest.mark.slow),
        pytest.param("bloom", {}, marks=pytest.mark.slow),
        pytest.param("cohere", {}, marks=pytest.mark.slow),
        pytest.param("lfm2", {}, marks=pytest.mark.slow),
        pytest.param(
            "deepseek_v3", {"target_modules": ["q_a_proj", "q_b_proj", "o_proj"]}, marks=pytest.mark.slow
        ),
        pytest.param("qwen2_moe", {"target_modules": SHARED}, marks=pytest.mark.slow),
        pytest.param(
            "qwen3_next", {"target_modules": [*ATTENTION, "in_proj_qkvz", "out_proj"]}, marks=pytest.mark.slow
        ),
        pytest.param("gemma3n_text", {"target_modules": MLP}, marks=pytest.mark.slow),
        pytest.param("gemma4_text", {"target_modules": [*ATTENTION, *MLP]}, marks=pytest.mark.slow),
        pytest.param("mixtral", {"target_modules": ATTENTION}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_families(family: str, config: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    adapter = make_adapter(checkpoint, tmp_path / "adapter", **config)
    expected, plain = (reference_logits(checkpoint, each, PROMPT) for each in (adapter, None))
    assert np.abs(expected - plain).max() > 0.1
    beside = export_model(checkpoint, tmp_path / "beside", precision="fp32", adapters={"a": adapter})
    np.testing.assert_allclose(logits(beside, adapter="a"), expected, atol=1e-4)
    np.testing.assert_allclose(logits(beside), plain, atol=1e-4)
    merged = export_model(checkpoint, tmp_path / "merged", precision="fp32", merge_adapter=adapter)
    np.testing.assert_allclose(logits(merged), expected, atol=1e-4)
    assert_rows_are_as_alone(beside)


def assert_rows_are_as_alone(folder: ModelFolder) -> None:
    """A step of two rows, one with the adapter "a", gives the logits that each has alone."""
    decoder, expected = Decoder(folder, provider="cpu", num_threads=1), []
    for names in ((None,), ("a",), (None, "a")):
        spans = []
        for name in names:
            slot = decoder.cache.acquire([0], key=PrefixKey(adapter=name))
            assert slot is not None
            decoder.cache.truncate(slot, 0)
            decoder.cache.reserve(len(PROMPT))
            decoder.run([Span(slot, PROMPT[:-1])])
            spans.append(Span(slot, PROMPT[-1:], 1))
        output = decoder.run(spans)
        found = [output.logits_of(index, 1).copy() for index in range(len(names))]
        expected += found
        for span in spans:
            decoder.cache.truncate(span.slot, 0)
            decoder.cache.release(span.slot)
    np.testing.assert_allclose(expected[2:], expected[:2], atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 0.1


@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"target_modules": ["embed_tokens", "q_proj", "lm_head"]},
    ],
    ids=lambda config: next(iter(config)),
)
def test_what_is_no_sum_beside_products_is_merged(config: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", attention_bias=True)
    adapter = make_adapter(checkpoint, tmp_path / "adapter", **config)
    with pytest.raises(UnsupportedModelError, match=r"(?s)adapter.*--merge-adapter"):
        export_model(checkpoint, tmp_path / "beside", precision="fp32", adapters={"a": adapter})
    assert not (tmp_path / "beside").exists()
    merged = export_model(checkpoint, tmp_path / "merged", precision="fp32", merge_adapter=adapter)
    np.testing.assert_allclose(logits(merged), reference_logits(checkpoint, adapter, PROMPT), atol=1e-4)
    assert merged.manifest is not None
    assert merged.manifest.exporter_notes["merged_adapter"]["source"] == str(adapter)


@pytest.mark.parametrize("provider", ["cpu", "webgpu"])
@pytest.mark.parametrize("tied", [False, True])
def test_heads_have_adapters_beside_them(tied: bool, provider: str, tmp_path: Path) -> None:
    """PEFT leaves the embedding alone where it adapts a head that is tied to it."""
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", tie_word_embeddings=tied)
    adapter = make_adapter(checkpoint, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    assert "lm_head.base_layer" in " ".join(load_file(adapter / "adapter_model.safetensors"))
    beside = export_model(
        checkpoint, tmp_path / "beside", precision="fp32", provider=provider, adapters={"a": adapter}
    )
    expected = reference_logits(checkpoint, adapter, PROMPT)
    np.testing.assert_allclose(logits(beside, adapter="a"), expected, atol=1e-4)
    np.testing.assert_allclose(logits(beside), reference_logits(checkpoint, None, PROMPT), atol=1e-4)
    assert_rows_are_as_alone(beside)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_what_would_change_both_of_two_tied_matrices_is_not_merged(target: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", tie_word_embeddings=True)
    adapter = make_adapter(checkpoint, tmp_path / "adapter", target_modules=["q_proj", target])
    with pytest.raises(UnsupportedModelError, match=rf'{target}" alone, and .* are one matrix'):
        plan_export(checkpoint, merge_adapter=adapter)


def test_a_head_that_is_not_the_models_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    adapter = make_adapter(checkpoint, tmp_path / "adapter", target_modules=["lm_head"])
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.base_layer.weight"] *= 1.1
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(UnsupportedModelError, match=r'copy of "lm_head.weight" is not the model\'s'):
        export_model(checkpoint, tmp_path / "model", precision="fp32", adapters={"a": adapter})


def test_where_channels_are_balanced_the_adapter_is_too(checkpoint: Path, adapter: Path) -> None:
    """What is added to a balanced matrix is the balanced form of what is added to the matrix."""
    plan = plan_export(checkpoint, ExportSettings("int4", block_size=32), adapters={"a": adapter})
    assert plan.native is not None
    weights = open_weights(plan, plan.native)
    precision = plan.precision.mixed_for(weights)
    graph = GraphBuilder(precision, balanced(weights, plan.native.spec, precision))
    build_decoder(graph, plan.native.spec)
    found = adapted_products(graph, weights, plan.adapters["a"])
    merging = plan_export(checkpoint, merge_adapter=adapter)
    assert merging.native is not None
    merged, num_balanced = open_weights(merging, merging.native), 0
    assert found.keys() == {product.name for product in graph.products} - {"head"}
    for product in graph.products:
        if product.name == "head":
            continue
        added, start = found[product.name].b.T @ found[product.name].a, 0
        for module in product.modules:
            rows = graph.parameters[f"{module}.weight"]
            expected = merged[f"{module}.weight"][:] - weights[f"{module}.weight"][:]
            if isinstance(rows, RescaledRows):
                expected = expected * rows.factors / rows.divisors[:, None]
                num_balanced += 1
            np.testing.assert_allclose(added[start : start + len(rows)], expected, atol=1e-4)
            start += len(rows)
    assert num_balanced


def test_the_folder_says_which_adapters_it_has(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    plain = export_model(checkpoint, tmp_path / "plain", precision="int8")
    made = export_model(
        checkpoint, tmp_path / "model", precision="int8", adapters={"b": adapter, "a": adapter}
    )
    assert list(made.adapter_files) == ["a", "b"]
    assert plain.manifest is not None
    assert made.manifest is not None
    assert made.manifest.adapters["a"] == {"source": str(adapter), "rank": 4, "modules": 14}
    assert made.manifest.files["model.onnx"] == plain.manifest.files["model.onnx"]
    assert "adapters/a.safetensors" in made.manifest.files
    card = (made.path / "README.md").read_text()
    assert "| Adapters | `a` (rank 4, of `adapter`), `b` (rank 4, of `adapter`) |" in card
    assert str(adapter) not in card


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"peft_type": "LOHA"}, UnsupportedModelError, "peft_type is 'LOHA', and only LORA"),
        ({"task_type": "SEQ_CLS"}, UnsupportedModelError, "it is for SEQ_CLS"),
        ({"alora_invocation_tokens": [1]}, UnsupportedModelError, "counts from some tokens on only"),
        ({"init_lora_weights": "pissa_niter_4"}, UnsupportedModelError, "initialized by pissa_niter_4"),
        ({"r": 5}, CheckpointError, "the rank 5, and adapter_model.safetensors has 4"),
        ({"lora_alpha": "6"}, CheckpointError, "lora_alpha must be a number, not '6'"),
        (
            {"tensors": lambda found: found.pop(min(found))},
            CheckpointError,
            "has no lora_A and lora_B of one rank",
        ),
        (
            {"tensors": lambda found: found.update({"x": np.zeros(2, np.float32)})},
            CheckpointError,
            'the tensor "x" is none of PEFT',
        ),
        (
            {"tensors": lambda found: found[min(found)].fill(np.nan)},
            CheckpointError,
            "infinite or no number",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_adapters_that_are_refused(
    change: dict[str, Any],
    error: type[GenaiError],
    message: str,
    checkpoint: Path,
    changed: Callable[..., Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        export_model(checkpoint, tmp_path / "model", precision="fp32", adapters={"a": changed(**change)})
    assert not (tmp_path / "model").exists()


def test_an_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    wide = make_checkpoint("llama", tmp_path / "wide", hidden_size=64)
    short = make_checkpoint("llama", tmp_path / "short", num_hidden_layers=1)
    for checkpoint, message in ((wide, r"as a matrix of \d+ by \d+"), (short, "layers.1.* does not have")):
        for options in ({"adapters": {"a": adapter}}, {"merge_adapter": adapter}):
            with pytest.raises(CheckpointError, match=message):
                export_model(checkpoint, tmp_path / "model", precision="fp32", **options)


def test_what_an_adapter_cannot_be_combined_with(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    for name in ("a/b", "", "-a", "ä"):
        with pytest.raises(OptionError, match="an adapter's name must be letters"):
            plan_export(checkpoint, adapters={name: adapter})
    with pytest.raises(OptionError, match=r"adapter and quantize gptq cannot be combined.*merge_adapter"):
        plan_export(checkpoint, ExportSettings(quantize="gptq"), adapters={"a": adapter})
    with pytest.raises(CheckpointError, match=r"adapter_config.json is missing"):
        plan_export(checkpoint, adapters={"a": tmp_path})
    with pytest.raises(OptionError, match="merge_adapter is the native exporter's"):
        plan_export(checkpoint, ExportSettings(via="transformers"), merge_adapter=adapter)


def test_what_is_no_product_of_its_own_has_no_place_beside(tmp_path: Path) -> None:
    """Latent attention takes this matrix apart, so that no product has it."""
    checkpoint = make_checkpoint("deepseek_v3", tmp_path / "checkpoint")
    adapter = make_adapter(checkpoint, tmp_path / "adapter", target_modules=["o_proj", "kv_b_proj"])
    with pytest.raises(UnsupportedModelError, match=r'kv_b_proj", beside which .*--merge-adapter'):
        export_model(checkpoint, tmp_path / "model", precision="fp32", adapters={"a": adapter})
    merged = export_model(checkpoint, tmp_path / "merged", precision="fp32", merge_adapter=adapter)
    np.testing.assert_allclose(logits(merged), reference_logits(checkpoint, adapter, PROMPT), atol=1e-4)
