"""The registry, and that what a config.json leaves out means the same as in transformers."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors.numpy import load_file, save_file

from genai.errors import GenaiError
from genai.export import export_model
from genai.export.architecture import ACTIVATIONS
from genai.export.architecture.family import Family
from genai.export.families import FAMILIES, find_family
from tests.checkpoints import FAMILIES as NAMES
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint, make_config
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()


def config_class(family: Family) -> type[transformers.PretrainedConfig]:
    return getattr(transformers, family.architectures[0]).config_class


# Without those whose code is in their repositories (tests/export/test_custom_code.py).
ALL_KNOWN = [family for family in FAMILIES if hasattr(transformers, family.architectures[0])]

WITHIN_OTHERS = [f for f in ALL_KNOWN if f.architectures[0].endswith("ForConditionalGeneration")]
"""Decoders that transformers has only within models that also see images (tests/export/test_multimodal.py)."""

KNOWN_TO_TRANSFORMERS = [family for family in ALL_KNOWN if family not in WITHIN_OTHERS]


LAYERS_OF_DIFFERENT_WEIGHTS = {
    "bailing_hybrid",
    "gemma3n_text",
    "gemma4_text",
    "granitemoehybrid",
    "kimi_linear",
    "lfm2",
    "lfm2_moe",
    "minimax",
    "olmo_hybrid",
    "qwen3_5_moe_text",
    "qwen3_5_text",
    "qwen3_next",
}
"""Families whose layers cannot change their type once there are weights."""


NEVER_LEFT_OUT = {("helium", "head_dim")}
"""Keys whose default in transformers makes no model: its projections do not fit to it."""


def family_named(name: str) -> Family:
    return next(family for family in KNOWN_TO_TRANSFORMERS if config_class(family).model_type == name)


def test_every_architecture_has_one_family() -> None:
    architectures = [name for family in FAMILIES for name in family.architectures]
    assert len(architectures) == len(set(architectures))
    assert all(name in find_family(name).architectures for name in architectures)
    assert {config_class(family).model_type for family in KNOWN_TO_TRANSFORMERS} == set(NAMES)


@pytest.mark.parametrize("family", ALL_KNOWN, ids=lambda family: config_class(family).model_type)
def test_defaults_are_those_of_transformers(family: Family) -> None:
    config = config_class(family)().get_text_config()
    config.allow_global_per_layer_attribute_access = True
    for key, value in family.defaults.items():
        if hasattr(config, key) and not key.startswith(("sliding_window", "original_max", "rope_parameters")):
            assert getattr(config, key) == value, key


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_a_config_leaves_out_mean_the_same(name: str, tmp_path: Path) -> None:
    defaults = family_named(name).defaults
    sizes = {
        "num_attention_heads",
        "num_key_value_heads",
        "num_kv_shared_layers",
        "num_local_experts",
        "max_position_embeddings",
        "vocab_size",
        "vocab_size_per_layer_input",
        "rope_theta",
        "rotary_dim",
    }
    chosen = {key: value for key, value in defaults.items() if key not in sizes}
    chosen = {key: value for key, value in chosen.items() if not key.startswith(("rope", "original_max"))}
    checkpoint = make_checkpoint(name, tmp_path / "checkpoint", **chosen)
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    for key in (*chosen, "rope_parameters", "per_layer_config", "_sliding_window_pattern"):
        config.pop(key, None)
    if name not in LAYERS_OF_DIFFERENT_WEIGHTS:
        config.pop("layer_types", None)
    path.write_text(json.dumps(config))
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor([PROMPT])).logits[0].numpy()
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_any_one_key_that_a_config_leaves_out_means_the_same_or_is_missed(name: str) -> None:
    family, config = family_named(name), make_config(name)
    values = json.loads(config.to_json_string())
    values.pop("time_step_limit", None)  # Mamba's; transformers cannot read the infinity that it writes
    for key in values:
        less = {other: value for other, value in values.items() if other != key}
        try:
            spec, _ = family.read(less)
            saved = json.loads(type(config).from_dict(deepcopy(less)).to_json_string())
        except (GenaiError, StrictDataclassError):  # missed by genai, or by transformers
            continue
        assert spec == family.read(saved)[0] or (name, key) in NEVER_LEFT_OUT, key


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", hidden_act=name)
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor([PROMPT])).logits[0].numpy()
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "mask"), [("gpt2", "bias"), ("gpt_bigcode", "bias"), ("codegen", "causal_mask")]
)
def test_checkpoints_without_prefix_and_with_masks_are_read(family: str, mask: str, tmp_path: Path) -> None:
    """GPT-2's original repository names its tensors `h.0...`; older ones store the causal mask beside them."""
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    expected = export_model(checkpoint, tmp_path / "prefixed", precision="int4", via="native")
    path = checkpoint / "model.safetensors"
    tensors = {name.removeprefix("transformer."): array for name, array in load_file(path).items()}
    tensors[f"h.0.attn.{mask}"] = np.ones((1, 1, 8, 8), np.float32)
    save_file(tensors, path)
    found = export_model(checkpoint, tmp_path / "bare", precision="int4", via="native")
    assert found.manifest is not None
    assert expected.manifest is not None
    assert found.manifest.files == expected.manifest.files
