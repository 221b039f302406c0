"""What gemma 2 and 3 share: four norms per layer with stored weight - 1, scaled embeddings, soft caps, windows.

It is no family itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.rope_config import max_positions_reason
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_mlp, refuse_foreign_parts

__all__ = ["GEMMA_WEIGHTS", "gemma_attention", "gemma_decoder", "gemma_norm"]

GEMMA_WEIGHTS: WeightMap = {
    **LLAMA_WEIGHTS,
    "mixer_output_norm": "layers.{i}.post_attention_layernorm",
    "mlp_norm": "layers.{i}.pre_feedforward_layernorm",
    "mlp_output_norm": "layers.{i}.post_feedforward_layernorm",
    "attention.q_norm": "layers.{i}.self_attn.q_norm",
    "attention.k_norm": "layers.{i}.self_attn.k_norm",
}


def gemma_norm(config: ModelConfig) -> NormSpec:
    """Return the norm that gemma uses everywhere."""
    return NormSpec("rms", config.number("rms_norm_eps"), offset=1.0)


def gemma_attention(config: ModelConfig) -> AttentionSpec:
    """Return a layer's attention, before its rotary embedding and window are chosen."""
    bias = config.flag("attention_bias")
    return AttentionSpec(
        num_heads=config.integer("num_attention_heads"),
        num_kv_heads=config.integer("num_key_value_heads"),
        head_dim=config.integer("head_dim"),
        scale=config.positive("query_pre_attn_scalar") ** -0.5,
        qkv_bias=bias,
        output_bias=bias,
    )


def gemma_decoder(config: ModelConfig, attentions: Sequence[AttentionSpec]) -> DecoderSpec:
    """Return a decoder with one layer for each of these attentions."""
    refuse_foreign_parts(config)
    config.refuse("use_bidirectional_attention", "tokens cannot see later ones in a decoder with a cache")
    norm, hidden_size = gemma_norm(config), config.integer("hidden_size")
    mlp = llama_mlp(config, activation_key="hidden_activation", default_activation=None)
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("max_position_embeddings"),
        layers=tuple(
            LayerSpec(
                mixer=attention,
                mlp=mlp,
                input_norm=norm,
                mixer_output_norm=norm,
                mlp_norm=norm,
                mlp_output_norm=norm,
            )
            for attention in attentions
        ),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        embedding_scale=math.sqrt(hidden_size),
        logit_softcap=config.optional_number("final_logit_softcapping"),
        max_positions_reason=max_positions_reason(config),
    )
