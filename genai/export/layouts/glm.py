"""What GLM-4's models share: partial rotary, and biases on queries, keys and values alone.

The dense ones rotate neighbours together; those with experts rotate halves, and have DeepSeek-V3's experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genai.export.architecture import AttentionSpec, DecoderSpec, NormSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS, head_dim_of, llama_attention, llama_decoder
from genai.export.layouts.moe import (
    SHARED_MOE_WEIGHTS,
    corrected_router,
    first_dense_layers,
    moe_decoder,
    shared_experts,
)

__all__ = [
    "GLM4_WEIGHTS",
    "GLM_DEFAULTS",
    "GLM_MOE_DEFAULTS",
    "GLM_MOE_WEIGHTS",
    "GLM_WEIGHTS",
    "glm4_decoder",
    "glm_attention",
    "glm_moe_decoder",
]

GLM_WEIGHTS: WeightMap = {
    **{modules: name for modules, name in LLAMA_WEIGHTS.items() if modules not in ("mlp.gate", "mlp.up")},
    ("mlp.gate", "mlp.up"): "layers.{i}.mlp.gate_up_proj",
}

GLM4_WEIGHTS: WeightMap = {
    **GLM_WEIGHTS,
    "mixer_output_norm": "layers.{i}.post_self_attn_layernorm",
    "mlp_output_norm": "layers.{i}.post_mlp_layernorm",
}

GLM_MOE_WEIGHTS: WeightMap = {
    **SHARED_MOE_WEIGHTS,
    "attention.q_norm": "layers.{i}.self_attn.q_norm",
    "attention.k_norm": "layers.{i}.self_attn.k_norm",
}

GLM_DEFAULTS: Mapping[str, Any] = {
    "attention_bias": True,
    "head_dim": 128,
    "num_key_value_heads": 2,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1.5625e-7,
    "tie_word_embeddings": False,
}

GLM_MOE_DEFAULTS: Mapping[str, Any] = {
    "first_k_dense_replace": 1,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_experts_per_tok": 8,
    "num_key_value_heads": 8,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-5,
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": False,
}


def glm_attention(config: ModelConfig) -> AttentionSpec:
    """Return the attention of every layer of a dense model."""
    rope = read_rope(config, head_dim=head_dim_of(config), interleaved=True)
    return replace(llama_attention(config, rope=rope), output_bias=False)


def glm4_decoder(config: ModelConfig) -> DecoderSpec:
    """Return a dense decoder with norms on the outputs of attention and feed-forward block too."""
    decoder = llama_decoder(config, glm_attention(config))
    norm = decoder.final_norm
    layers = [replace(layer, mixer_output_norm=norm, mlp_output_norm=norm) for layer in decoder.layers]
    return replace(decoder, layers=tuple(layers))


def glm_moe_decoder(config: ModelConfig, *, has_qk_norm: bool) -> DecoderSpec:
    """Return a decoder with experts, and perhaps with norms on the heads of queries and keys."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention = replace(llama_attention(config), output_bias=False, qk_norm=norm if has_qk_norm else None)
    experts = shared_experts(config, corrected_router(config))
    return moe_decoder(config, attention, experts, dense=first_dense_layers(config))
