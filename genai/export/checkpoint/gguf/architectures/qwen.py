"""Qwen 2, 2.5 and 3, and their mixtures of experts; OLMo 2, whose norms stand elsewhere."""

from __future__ import annotations

from typing import Any

from genai.export.checkpoint.gguf.architectures.architecture import (
    LLAMA_TENSORS,
    Architecture,
    Table,
    experts_table,
)
from genai.export.checkpoint.gguf.model import GgufModel, common_config

__all__ = ["ARCHITECTURES"]

_LAYER = "model.layers.{i}"

_WITH_NORMS: Table = {
    **LLAMA_TENSORS,
    "blk.{i}.attn_q_norm": f"{_LAYER}.self_attn.q_norm",
    "blk.{i}.attn_k_norm": f"{_LAYER}.self_attn.k_norm",
}
_EXPERTS: Table = {
    "blk.{i}.ffn_gate_inp": f"{_LAYER}.mlp.gate",
    **experts_table(*(f"{_LAYER}.mlp.experts.{{e}}.{name}_proj" for name in ("gate", "up", "down"))),
}
_SHARED_EXPERT: Table = {
    "blk.{i}.ffn_gate_inp_shexp": f"{_LAYER}.mlp.shared_expert_gate",
    "blk.{i}.ffn_gate_shexp": f"{_LAYER}.mlp.shared_expert.gate_proj",
    "blk.{i}.ffn_up_shexp": f"{_LAYER}.mlp.shared_expert.up_proj",
    "blk.{i}.ffn_down_shexp": f"{_LAYER}.mlp.shared_expert.down_proj",
}


def _qwen2(model: GgufModel) -> dict[str, Any]:
    return common_config(model) | {"architectures": ["Qwen2ForCausalLM"]}


def _qwen3(model: GgufModel) -> dict[str, Any]:
    config = {"architectures": ["Qwen3ForCausalLM"], "attention_bias": model.has("blk.0.attn_q.bias")}
    return common_config(model) | config


def _qwen2_moe(model: GgufModel) -> dict[str, Any]:
    """Return a config of Qwen 2 MoE; llama.cpp never normalizes its experts' weights, and always Qwen 3's."""
    shared = model.keys.integer("expert_shared_feed_forward_length")
    return _moe(model) | {
        "architectures": ["Qwen2MoeForCausalLM"],
        "shared_expert_intermediate_size": shared,
        "norm_topk_prob": False,
        "qkv_bias": model.has("blk.0.attn_q.bias"),
    }


def _qwen3_moe(model: GgufModel) -> dict[str, Any]:
    return _moe(model) | {"architectures": ["Qwen3MoeForCausalLM"], "norm_topk_prob": True}


def _moe(model: GgufModel) -> dict[str, Any]:
    size = model.keys.integer("expert_feed_forward_length")
    return (
        {"intermediate_size": size}
        | common_config(model)
        | {
            "moe_intermediate_size": size,
            "num_experts": model.keys.integer("expert_count"),
            "num_experts_per_tok": model.keys.integer("expert_used_count"),
            "decoder_sparse_step": 1,
        }
    )


def _olmo2(model: GgufModel) -> dict[str, Any]:
    """Return a config of OLMo 2, or of OLMo 3 where some layers see a window only."""
    config = common_config(model)
    if "attention.sliding_window" not in model.keys:
        return config | {"architectures": ["Olmo2ForCausalLM"]}
    return config | {
        "architectures": ["Olmo3ForCausalLM"],
        "sliding_window": model.keys.integer("attention.sliding_window"),
        "layer_types": model.layer_types(default_period=4),
    }


ARCHITECTURES = (
    Architecture(("qwen2",), _qwen2, LLAMA_TENSORS),
    Architecture(("qwen3",), _qwen3, _WITH_NORMS),
    Architecture(("qwen2moe",), _qwen2_moe, {**LLAMA_TENSORS, **_EXPERTS, **_SHARED_EXPERT}),
    Architecture(("qwen3moe",), _qwen3_moe, {**_WITH_NORMS, **_EXPERTS}),
    Architecture(
        ("olmo2",),
        _olmo2,
        {
            **_WITH_NORMS,
            "blk.{i}.post_attention_norm": f"{_LAYER}.post_attention_layernorm",
            "blk.{i}.post_ffw_norm": f"{_LAYER}.post_feedforward_layernorm",
        },
    ),
)
