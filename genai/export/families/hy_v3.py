"""Hunyuan 3: queries and keys are normalized per head, DeepSeek-V3's experts without groups in all but the first layers."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import (
    SHARED_MOE_WEIGHTS,
    corrected_router,
    first_dense_layers,
    moe_decoder,
    shared_experts,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    for key in ("moe_router_enable_expert_bias", "moe_router_use_sigmoid", "qk_norm", "route_norm"):
        config.refuse_misread(key, "another model than Hunyuan 3", unless=(None, True))
    attention = replace(llama_attention(config), qk_norm=NormSpec("rms", config.number("rms_norm_eps")))
    experts = shared_experts(config, corrected_router(config))
    return moe_decoder(config, attention, experts, dense=first_dense_layers(config))


FAMILY = Family(
    architectures=("HYV3ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **SHARED_MOE_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "mlp.router": "layers.{i}.mlp.router.gate",
        "mlp.router.correction_bias": "layers.{i}.mlp.expert_bias",
        "mlp.shared.gate": "layers.{i}.mlp.shared_mlp.gate_proj",
        "mlp.shared.up": "layers.{i}.mlp.shared_mlp.up_proj",
        "mlp.shared.down": "layers.{i}.mlp.shared_mlp.down_proj",
    },
    defaults={
        "first_k_dense_replace": 1,
        "head_dim": 128,
        "n_routed_experts": 192,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 11158840.0,
        "routed_scaling_factor": 2.826,
        "tie_word_embeddings": False,
    },
    aliases={
        "num_experts": "n_routed_experts",
        "num_shared_experts": "n_shared_experts",
        "router_scaling_factor": "routed_scaling_factor",
    },
    ignored=(r"^model\.layers\.80\.",),  # predicts the token after the next; decoding does without
)
