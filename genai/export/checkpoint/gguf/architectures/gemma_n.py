"""Gemma 3n and Gemma 4: inputs of each layer, caches shared by layers, norms as transformers stores them."""

from __future__ import annotations

import math
from typing import Any

from genai.errors import UnsupportedModelError
from genai.export.checkpoint.gguf.architectures.architecture import LLAMA_TENSORS, Architecture, Table
from genai.export.checkpoint.gguf.model import GgufModel, rope_of
from genai.export.checkpoint.gguf.sources import ByPart, Tensor

__all__ = ["ARCHITECTURES"]

_LAYER = "model.layers.{i}"

_COMMON: Table = {
    **LLAMA_TENSORS,
    "blk.{i}.attn_q_norm": f"{_LAYER}.self_attn.q_norm",
    "blk.{i}.attn_k_norm": f"{_LAYER}.self_attn.k_norm",
    "blk.{i}.ffn_norm": f"{_LAYER}.pre_feedforward_layernorm",
    "blk.{i}.post_attention_norm": f"{_LAYER}.post_attention_layernorm",
    "blk.{i}.post_ffw_norm": f"{_LAYER}.post_feedforward_layernorm",
    "per_layer_token_embd": "model.embed_tokens_per_layer",
    "per_layer_model_proj": "model.per_layer_model_projection",
    "per_layer_proj_norm": "model.per_layer_projection_norm",
    "blk.{i}.inp_gate": f"{_LAYER}.per_layer_input_gate",
    "blk.{i}.proj": f"{_LAYER}.per_layer_projection",
    "blk.{i}.post_norm": f"{_LAYER}.post_per_layer_input_norm",
}

_GEMMA3N: Table = {
    **_COMMON,
    "altup_proj": ByPart("model.altup_projections.{e}"),
    "altup_unembd_proj": ByPart("model.altup_unembed_projections.{e}"),
    "blk.{i}.altup_correct_coef": f"{_LAYER}.altup.correction_coefs",
    "blk.{i}.altup_correct_scale": Tensor(f"{_LAYER}.altup.correct_output_scale"),
    "blk.{i}.altup_predict_coef": f"{_LAYER}.altup.prediction_coefs",
    "blk.{i}.altup_router": f"{_LAYER}.altup.modality_router",
    "blk.{i}.altup_router_norm": f"{_LAYER}.altup.router_norm",
    "blk.{i}.laurel_l": f"{_LAYER}.laurel.linear_left",
    "blk.{i}.laurel_r": f"{_LAYER}.laurel.linear_right",
    "blk.{i}.laurel_post_norm": f"{_LAYER}.laurel.post_laurel_norm",
}


def _gemma3n(model: GgufModel) -> dict[str, Any]:
    keys, config = model.keys, _common(model)
    local_base = {"rope_type": "default", "rope_theta": keys.positive("rope.freq_base_swa", 10000.0)}
    return config | {
        "architectures": ["Gemma3nForCausalLM"],
        "intermediate_size": model.of_layers("feed_forward_length"),
        "activation_sparsity_pattern": [_share_below(z) for z in keys.numbers("activation_sparsity_scale")],
        "altup_active_idx": keys.integer("altup.active_idx", minimum=0),
        "altup_num_inputs": keys.integer("altup.num_inputs"),
        "laurel_rank": model.tensors["blk.0.laurel_l.weight"].shape[0],
        "final_logit_softcapping": keys.number("final_logit_softcapping", 30.0),
        "rope_parameters": {"full_attention": config["rope_parameters"], "sliding_attention": local_base},
    }


def _gemma4(model: GgufModel) -> dict[str, Any]:
    """Return a config of Gemma 4; heads of layers that see everything are wider, and rotate in part."""
    keys = model.keys
    if "expert_count" in keys:
        raise UnsupportedModelError(
            "GGUF files of Gemma 4 with experts cannot be read; export its own checkpoint"
        )
    config, head_dim = _common(model), keys.integer("attention.key_length")
    num_rotated = sum(factor < 2 for factor in model.factors("rope_freqs.weight") or [])
    full = {
        "rope_type": "proportional",
        "partial_rotary_factor": 2 * num_rotated / head_dim,
        "rope_theta": keys.positive("rope.freq_base", 1e6),
    }
    local = {"rope_type": "default", "rope_theta": keys.positive("rope.freq_base_swa", 1e4)}
    sizes = model.of_layers("feed_forward_length")
    num_kv_heads = dict(zip(config["layer_types"], model.of_layers("attention.head_count_kv"), strict=True))
    are_keys = any(
        kind == "full_attention" and not model.has(f"blk.{index}.attn_v.weight")
        for index, kind in enumerate(config["layer_types"][: len(sizes) - config["num_kv_shared_layers"]])
    )
    return config | {
        "architectures": ["Gemma4ForCausalLM"],
        "head_dim": keys.integer("attention.key_length_swa"),
        "global_head_dim": head_dim,
        "num_key_value_heads": num_kv_heads.get("sliding_attention", num_kv_heads["full_attention"]),
        "num_global_key_value_heads": num_kv_heads["full_attention"],
        "attention_k_eq_v": are_keys,
        "intermediate_size": min(sizes),
        "use_double_wide_mlp": len(set(sizes)) > 1,
        "final_logit_softcapping": keys.optional_number("final_logit_softcapping"),
        "rope_parameters": {"full_attention": full, "sliding_attention": local},
    }


def _common(model: GgufModel) -> dict[str, Any]:
    keys = model.keys
    per_layer = keys.integer("embedding_length_per_layer_input", 0, minimum=0)
    has_per_layer = model.has("per_layer_token_embd.weight")
    config = {
        "hidden_size": keys.integer("embedding_length"),
        "num_hidden_layers": keys.integer("block_count"),
        "num_attention_heads": model.one_for_all_layers("attention.head_count"),
        "max_position_embeddings": keys.integer("context_length"),
        "vocab_size": model.tensors["token_embd.weight"].shape[0],
        "tie_word_embeddings": not model.has("output.weight"),
        "rms_norm_eps": keys.positive("attention.layer_norm_rms_epsilon"),
        "head_dim": keys.integer("attention.key_length"),
        "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": model.layer_types(default_period=5),
        "num_kv_shared_layers": keys.integer("attention.shared_kv_layers", 0, minimum=0),
        "hidden_size_per_layer_input": per_layer,
    }
    if has_per_layer:
        config["vocab_size_per_layer_input"] = model.tensors["per_layer_token_embd.weight"].shape[0]
    if model.architecture == "gemma3n":
        config["num_key_value_heads"] = model.one_for_all_layers("attention.head_count_kv")
        config["rope_parameters"] = rope_of(model, head_dim=keys.integer("attention.key_length"))
    return config


def _share_below(multiplier: float) -> float:
    """The share of a normal distribution below so many standard deviations; stored is its inverse."""
    return round((1 + math.erf(multiplier / math.sqrt(2))) / 2, 6)


ARCHITECTURES = (
    Architecture(("gemma3n",), _gemma3n, _GEMMA3N),
    Architecture(
        ("gemma4",), _gemma4, {**_COMMON, "blk.{i}.layer_output_scale": Tensor(f"{_LAYER}.layer_scalar")}
    ),
)
