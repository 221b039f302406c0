"""Families whose modeling code lives in their repositories: compared with an equal model that transformers has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from genai.export import export_model
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(3).integers(3, VOCAB_SIZE, 24).tolist()
Tensors = dict[str, torch.Tensor]


def rewritten(
    checkpoint: Path, target: Path, config: Mapping[str, Any], rename: Callable[[Tensors], Tensors]
) -> Path:
    """Copy a checkpoint under another architecture's config keys and weight names."""
    target.mkdir()
    values = json.loads((checkpoint / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**values, **config}))
    tensors = rename(load_file(checkpoint / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target / "model.safetensors")
    return target


def assert_same_logits(checkpoint: Path, reference: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        expected = load_reference(reference)(torch.tensor([PROMPT])).logits[0].numpy()
    exported = export_model(checkpoint, tmp_path / "model", precision="fp32", via="native")
    np.testing.assert_allclose(GraphRunner(exported).feed(PROMPT), expected, atol=1e-4, rtol=0)


def internlm2_names(tensors: Tensors, *, num_kv_heads: int) -> Tensors:
    """Llama's tensors as InternLM2 stores them: queries, keys and values of one key/value head after the other."""
    renamed = {}
    parts = {
        "embed_tokens": "tok_embeddings",
        "lm_head": "output",
        "self_attn.o_proj": "attention.wo",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.down_proj": "feed_forward.w2",
        "mlp.up_proj": "feed_forward.w3",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for name, tensor in tensors.items():
        for kind in ("weight", "bias"):
            if name.endswith(f"self_attn.q_proj.{kind}"):
                heads = [
                    tensors[name.replace("q_proj", module)].unflatten(0, (num_kv_heads, -1))
                    for module in ("q_proj", "k_proj", "v_proj")
                ]
                stacked = torch.cat(heads, dim=1).flatten(0, 1)
                renamed[name.replace("self_attn.q_proj", "attention.wqkv")] = stacked
        if not any(f"self_attn.{module}_proj" in name for module in "qkv"):
            for old, new in parts.items():
                name = name.replace(old, new)
            renamed[name] = tensor
    return renamed


@pytest.mark.parametrize("bias", [False, True])
def test_internlm2_is_llama_stored_otherwise(bias: bool, tmp_path: Path) -> None:
    llama = make_checkpoint("llama", tmp_path / "llama", head_dim=16, hidden_size=64, attention_bias=bias)
    config = {"architectures": ["InternLM2ForCausalLM"], "model_type": "internlm2", "bias": bias}
    checkpoint = rewritten(
        llama, tmp_path / "internlm2", config, lambda tensors: internlm2_names(tensors, num_kv_heads=2)
    )
    assert_same_logits(checkpoint, llama, tmp_path)


@pytest.mark.parametrize("bias", [False, True])
def test_internlm3_is_llama_with_biases_by_other_keys(bias: bool, tmp_path: Path) -> None:
    llama = make_checkpoint("llama", tmp_path / "llama", attention_bias=bias, mlp_bias=bias)
    config = {"architectures": ["InternLM3ForCausalLM"], "qkv_bias": bias, "bias": bias}
    config |= {"attention_bias": None, "mlp_bias": None}
    checkpoint = rewritten(llama, tmp_path / "internlm3", config, lambda tensors: tensors)
    assert_same_logits(checkpoint, llama, tmp_path)


def test_minicpm_is_granite_with_factors_by_other_keys(tmp_path: Path) -> None:
    granite = make_checkpoint(
        "granite",
        tmp_path / "granite",
        embedding_multiplier=3.0,
        residual_multiplier=0.7 / 2**0.5,
        logits_scaling=48 / 16,
        attention_multiplier=24**-0.5,
        tie_word_embeddings=True,
        hidden_size=48,
        num_attention_heads=2,
    )
    config = {
        "architectures": ["MiniCPMForCausalLM"],
        "scale_emb": 3,
        "scale_depth": 0.7,
        "dim_model_base": 16,
    }
    checkpoint = rewritten(granite, tmp_path / "minicpm", config, lambda tensors: tensors)
    assert_same_logits(checkpoint, granite, tmp_path)


def test_exaone_is_llama_by_other_names_and_keys(tmp_path: Path) -> None:
    llama = make_checkpoint("llama", tmp_path / "llama", rms_norm_eps=1e-5, hidden_act="gelu")
    parts = {
        "model.": "transformer.",
        "embed_tokens": "wte",
        "layers.": "h.",
        "input_layernorm": "ln_1",
        "post_attention_layernorm": "ln_2",
        "self_attn.o_proj": "attn.attention.out_proj",
        "self_attn": "attn.attention",
        "gate_proj": "c_fc_0",
        "up_proj": "c_fc_1",
        "down_proj": "c_proj",
        "transformer.norm": "transformer.ln_f",
    }

    def renamed(tensors: Tensors) -> Tensors:
        names = {name: name for name in tensors}
        for old, new in parts.items():
            names = {name: other.replace(old, new) for name, other in names.items()}
        return {names[name]: tensor for name, tensor in tensors.items()}

    config = {
        "architectures": ["ExaoneForCausalLM"],
        "model_type": "exaone",
        "activation_function": "gelu",
        "hidden_act": None,
        "layer_norm_epsilon": 1e-5,
        "rms_norm_eps": None,
        "num_layers": 2,
        "num_hidden_layers": None,
    }
    assert_same_logits(rewritten(llama, tmp_path / "exaone", config, renamed), llama, tmp_path)


def test_minimax_text_01_is_minimax_by_other_keys(tmp_path: Path) -> None:
    minimax = make_checkpoint("minimax", tmp_path / "minimax")
    values = json.loads((minimax / "config.json").read_text())
    config = {
        "architectures": ["MiniMaxText01ForCausalLM"],
        "model_type": "minimax_text_01",
        "layer_types": None,
        "attn_type_list": [0, 1, 0],
        "postnorm": True,
        "rotary_dim": values["head_dim"],
        "shared_intermediate_size": 0,
    }
    for theirs, ours in (
        ("full_attention", "full_attn"),
        ("linear_attention", "linear_attn"),
        ("mlp", "mlp"),
    ):
        for factor in ("alpha", "beta"):
            key = f"{ours}_{factor}_factor"
            config |= {f"layernorm_{theirs}_{factor}": values[key], key: None}
    checkpoint = rewritten(minimax, tmp_path / "text", config, lambda tensors: tensors)
    assert_same_logits(checkpoint, minimax, tmp_path)


def ling_names(tensors: Tensors) -> Tensors:
    """GLM-4.5's tensors as Ling 2 stores them: queries, keys and values of all heads one below the other."""
    parts = {
        "embed_tokens": "word_embeddings",
        "self_attn.o_proj": "attention.dense",
        "self_attn.q_norm": "attention.query_layernorm",
        "self_attn.k_norm": "attention.key_layernorm",
        "gate.e_score_correction_bias": "gate.expert_bias",
    }
    renamed = {}
    for name, tensor in tensors.items():
        if "self_attn.q_proj" in name:
            stacked = [tensors[name.replace("q_proj", f"{module}_proj")] for module in "qkv"]
            renamed[name.replace("self_attn.q_proj", "attention.query_key_value")] = torch.cat(stacked)
        elif not any(f"self_attn.{module}_proj" in name for module in "kv"):
            for old, new in parts.items():
                name = name.replace(old, new)
            renamed[name] = tensor
    return renamed


@pytest.mark.parametrize("bias", [False, True])
def test_ling_2_is_glm_4_5_stored_otherwise(bias: bool, tmp_path: Path) -> None:
    glm = make_checkpoint("glm4_moe", tmp_path / "glm", attention_bias=bias, use_qk_norm=not bias)
    values = json.loads((glm / "config.json").read_text())
    config = {
        "architectures": ["BailingMoeV2ForCausalLM"],
        "model_type": "bailing_moe_v2",
        "attention_bias": None,
        "n_routed_experts": None,
        "n_shared_experts": None,
        "num_experts": values["n_routed_experts"],
        "num_shared_experts": values["n_shared_experts"],
        "use_qkv_bias": bias,
        "use_qk_norm": not bias,
    }
    assert_same_logits(rewritten(glm, tmp_path / "ling", config, ling_names), glm, tmp_path)


def test_mimo_is_qwen2_with_layers_that_decoding_does_without(tmp_path: Path) -> None:
    qwen = make_checkpoint("qwen2", tmp_path / "qwen2", tie_word_embeddings=False)

    def with_further_layer(tensors: Tensors) -> Tensors:
        layer = {
            name.replace("model.layers.0.", "model.mtp_layers.0."): tensor.clone()
            for name, tensor in tensors.items()
            if name.startswith("model.layers.0.")
        }
        return {**tensors, **layer, "model.mtp_layers.0.input_proj.weight": torch.ones(64, 128)}

    config = {"architectures": ["MiMoForCausalLM"], "model_type": "mimo", "num_nextn_predict_layers": 1}
    config |= {"attention_bias": True, "use_mrope": False}
    checkpoint = rewritten(qwen, tmp_path / "mimo", config, with_further_layer)
    assert_same_logits(checkpoint, qwen, tmp_path)
