"""Decoders within models that also see images, in the names and configs that they are published with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from genai.errors import UnsupportedModelError
from genai.export import export_model
from genai.export.families import FAMILIES, find_family
from tests.checkpoints import VOCAB_SIZE, make_config, make_tokenizer
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(0).integers(3, VOCAB_SIZE, 24).tolist()
PIXTRAL: Mapping[str, Any] = {
    "model_type": "pixtral",
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 16,
    "image_size": 28,
    "patch_size": 14,
}
QWEN_VISION: Mapping[str, Any] = {
    "depth": 1,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 40,
    "patch_size": 4,
}
MROPE: Mapping[str, Any] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
}
IDEFICS_VISION: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
GLM_VISION: Mapping[str, Any] = {**QWEN_VISION, "image_size": 16}
GLM_ROPE: Mapping[str, Any] = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [2, 3, 3],
    }
}

# By the model's class without its ending: the family of the decoder, its values, the vision tower's.
MODELS: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "Mistral3": ("mistral", {}, PIXTRAL),
    "Mistral3 with Ministral 3": ("ministral3", {}, PIXTRAL),
    "Mistral3 with Mistral 4": ("mistral4", {}, PIXTRAL),
    "Qwen2VL": (
        "qwen2",
        MROPE,
        {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "patch_size": 4},
    ),
    "Qwen2_5_VL": ("qwen2", MROPE, {**QWEN_VISION, "out_hidden_size": 64, "fullatt_block_indexes": [0]}),
    "Qwen3VL": ("qwen3", MROPE, {**QWEN_VISION, "out_hidden_size": 48, "deepstack_visual_indexes": [0]}),
    "Qwen3VLMoe": (
        "qwen3_moe",
        MROPE,
        {**QWEN_VISION, "out_hidden_size": 48, "deepstack_visual_indexes": [0]},
    ),
    "Glm4v": (
        "glm4",
        {**GLM_ROPE, "hidden_size": 128, "rms_norm_eps": 1e-5},
        {**GLM_VISION, "out_hidden_size": 128},
    ),
    "Glm46V": ("glm4", {**GLM_ROPE, "hidden_size": 128}, {**GLM_VISION, "out_hidden_size": 128}),
    "Glm4vMoe": (
        "glm4_moe",
        {**GLM_ROPE, "use_qk_norm": False, "attention_bias": True},
        {**GLM_VISION, "out_hidden_size": 48},
    ),
    "Exaone4_5_": (
        "exaone4",
        {},
        {**QWEN_VISION, "out_hidden_size": 64, "num_key_value_heads": 2, "fullatt_block_indexes": [0]},
    ),
    "Idefics3": ("llama", {}, IDEFICS_VISION),
    "SmolVLM": ("llama", {}, IDEFICS_VISION),
    "Lfm2Vl": (
        "lfm2",
        {},
        {**IDEFICS_VISION, "model_type": "siglip2_vision_model", "num_patches": 16, "patch_size": 4},
    ),
}


def make_checkpoint(name: str, path: Path, *, tied: bool) -> Path:
    """Save a random checkpoint around a family's tiny decoder."""
    text_family, values, vision = MODELS[name]
    kind = name.split()[0]
    text = make_config(text_family, **values).to_dict()
    if kind.startswith(("Qwen", "Glm")):
        del text["model_type"]  # the decoder within has a type of its own
    config = getattr(transformers, f"{kind}Config")(
        text_config=text,
        vision_config=dict(vision),
        tie_word_embeddings=tied,
        architectures=[f"{kind}ForConditionalGeneration"],
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim == 1 or parameter_name.endswith("language_model.embed_tokens.weight"):
                parameter.normal_(0.5, 0.2)
    model.save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


def assert_parity(checkpoint: Path, folder: Path) -> None:
    architecture = json.loads((checkpoint / "config.json").read_text())["architectures"][0]
    with torch.no_grad():
        reference = (
            getattr(transformers, architecture)
            .from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
            .eval()
        )
        expected = reference(torch.tensor([PROMPT])).logits[0].numpy()
    exported = export_model(checkpoint, folder, precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_decoder_computes_what_transformers_computes(name: str, tied: bool, tmp_path: Path) -> None:
    """The outer config says whether the embeddings are tied, whatever the text's own default is."""
    checkpoint = make_checkpoint(name, tmp_path / "checkpoint", tied=tied)
    assert_parity(checkpoint, tmp_path / "model")


def test_a_flat_config_from_before_transformers_5_means_the_same(tmp_path: Path) -> None:
    """Qwen2-VL's: the decoder's keys beside the others, and the type of the rotary embedding "mrope"."""
    checkpoint = make_checkpoint("Qwen2VL", tmp_path / "checkpoint", tied=True)
    assert_parity(checkpoint, tmp_path / "new")
    expected = (tmp_path / "new" / "model.onnx.data").read_bytes()
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    text = config.pop("text_config")
    del text["rope_parameters"], text["layer_types"], text["model_type"]
    text |= {"rope_theta": 10000.0, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    path.write_text(json.dumps({**text, **config}))
    export_model(checkpoint, tmp_path / "old", precision="fp32", via="native")
    assert (tmp_path / "old" / "model.onnx.data").read_bytes() == expected


def test_the_names_of_mistral3_within_transformers_are_read_too(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("Mistral3", tmp_path / "checkpoint", tied=False)
    path = checkpoint / "model.safetensors"
    published = load_file(path)
    assert {name.split(".")[0] for name in published} == {
        "language_model",
        "multi_modal_projector",
        "vision_tower",
    }
    renamed = {
        name.replace("language_model.lm_head", "lm_head")
        if "lm_head" in name
        else "model." + name.replace("language_model.model.", "language_model."): tensor
        for name, tensor in published.items()
    }
    save_file(renamed, path, metadata={"format": "pt"})
    assert_parity(checkpoint, tmp_path / "model")


WRAPPERS = [
    name for family in FAMILIES for name in family.architectures if name.endswith("ForConditionalGeneration")
]


@pytest.mark.parametrize("architecture", WRAPPERS)
def test_the_outer_class_says_what_a_config_leaves_out_on_tying(architecture: str) -> None:
    outer = getattr(transformers, architecture).config_class
    text = outer().get_text_config().to_dict()
    text.pop("tie_word_embeddings", None)
    text["head_dim"] = 64  # one of the classes has a default of which no half rotates
    spec, _ = find_family(architecture).read({"architectures": [architecture], "text_config": text})
    assert spec.tied == outer().tie_word_embeddings


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("Mistral3")])
@pytest.mark.parametrize("inner", [None, False])
@pytest.mark.parametrize("tied", [False, True])
def test_a_stored_head_counts_where_only_a_default_ties_it(
    name: str, inner: bool | None, tied: bool, tmp_path: Path
) -> None:
    """Mistral Small 3.1's repository stores a head and does not mention the key; transformers saves neither if tied."""
    checkpoint = make_checkpoint(name, tmp_path / "checkpoint", tied=tied)
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    config.pop("tie_word_embeddings", None)
    config["text_config"]["tie_word_embeddings"] = inner
    if inner is None:
        del config["text_config"]["tie_word_embeddings"]
    path.write_text(json.dumps(config))
    assert_parity(checkpoint, tmp_path / "model")


def test_a_published_config_of_mistral3_is_read() -> None:
    """Mistral Small 3.1's."""
    config = {
        "architectures": ["Mistral3ForConditionalGeneration"],
        "image_token_index": 10,
        "model_type": "mistral3",
        "multimodal_projector_bias": False,
        "projector_hidden_act": "gelu",
        "spatial_merge_size": 2,
        "text_config": {
            "attention_dropout": 0.0,
            "head_dim": 128,
            "hidden_act": "silu",
            "hidden_size": 5120,
            "initializer_range": 0.02,
            "intermediate_size": 32768,
            "max_position_embeddings": 131072,
            "model_type": "mistral",
            "num_attention_heads": 32,
            "num_hidden_layers": 40,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000000.0,
            "sliding_window": None,
            "use_cache": True,
            "vocab_size": 131072,
        },
        "torch_dtype": "bfloat16",
        "vision_feature_layer": -1,
    }
    spec, _ = find_family("Mistral3ForConditionalGeneration").read(json.loads(json.dumps(config)))
    (attention,) = set(spec.attentions)
    assert (attention.head_dim, attention.window, attention.query_scaling) == (128, None, None)
    assert attention.rope is not None
    assert attention.rope.theta == 1e9


def test_queries_grow_only_where_sequences_are_long_enough() -> None:
    spec, _ = find_family("Ministral3ForCausalLM").read(
        json.loads(make_config("ministral3").to_json_string())
    )
    assert all(attention.query_scaling for attention in spec.limited_to(8).attentions)
    assert not any(attention.query_scaling for attention in spec.limited_to(7).attentions)


def test_experts_that_lie_the_other_way_round_are_turned(tmp_path: Path) -> None:
    """As Qwen 3 VL's are published; transformers 5 saves them turned already."""
    checkpoint = make_checkpoint("Qwen3VLMoe", tmp_path / "checkpoint", tied=False)
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    stacked = [name for name in tensors if ".experts." in name]
    assert {name.rpartition(".")[2] for name in stacked} == {"gate_up_proj", "down_proj"}
    turned = {name: tensors[name].transpose(1, 2).contiguous() for name in stacked}
    save_file({**tensors, **turned}, path, metadata={"format": "pt"})
    assert_parity(checkpoint, tmp_path / "model")


def test_glm_46v_around_another_decoder_is_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("Glm46V", tmp_path / "checkpoint", tied=False)
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["model_type"] = "glm4v_moe_text"
    with pytest.raises(UnsupportedModelError, match="\"model_type\" is 'glm4v_moe_text'"):
        find_family("Glm46VForConditionalGeneration").read(config)
