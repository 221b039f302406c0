"""Mistral 4's decoder, which is published within a model that also sees images: latent attention and experts.

It is DeepSeek's, with a router of probabilities and queries that grow with the position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genai.export.architecture import DecoderSpec, LatentAttentionSpec, RouterSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import IfStored, Named, WeightMap
from genai.export.layouts.deepseek import deepseek_decoder, deepseek_weights, latent_attention_of
from genai.export.layouts.mistral import llama4_scaling

__all__ = ["MISTRAL4_DEFAULTS", "mistral4_decoder", "mistral4_weights"]

MISTRAL4_DEFAULTS: Mapping[str, Any] = {
    "first_k_dense_replace": 0,
    "kv_lora_rank": 256,
    "max_position_embeddings": 1048576,
    "n_group": 1,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts_per_tok": 4,
    "q_lora_rank": 1024,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-6,
    "rope_interleave": True,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 128.0,
        "original_max_position_embeddings": 8192,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
    },
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "v_head_dim": 128,
}


def mistral4_decoder(config: ModelConfig) -> DecoderSpec:
    """Return the decoder of a text config."""
    router = RouterSpec(
        num_experts=config.integer("n_routed_experts"),
        num_experts_per_token=config.integer("num_experts_per_tok"),
        normalize=config.flag("norm_topk_prob"),
        scaling_factor=config.number("routed_scaling_factor"),
        num_groups=config.integer("n_group"),
        num_groups_per_token=config.integer("topk_group"),
        num_scores_per_group=2,
    )
    config = config.without("mlp_bias", "mlp_layer_types")  # it has neither
    return deepseek_decoder(config, router, attention=_attention(config))


def mistral4_weights(config: ModelConfig) -> WeightMap:
    """Name the weights; all experts of a layer are stored in two tensors."""
    return {
        ("mlp.experts.gate", "mlp.experts.up"): IfStored(Named("layers.{i}.mlp.experts.gate_up_proj")),
        ("mlp.experts.down",): IfStored(Named("layers.{i}.mlp.experts.down_proj")),
        **deepseek_weights(config),
    }


def _attention(config: ModelConfig) -> LatentAttentionSpec:
    """Return the attention, whose rotary embedding counts the part of a head that rotates as a share of the whole."""
    rotating = config.integer("qk_rope_head_dim")
    head_dim = config.integer("qk_nope_head_dim") + rotating
    rope = read_rope(
        config.filled(partial_rotary_factor=rotating / head_dim),
        head_dim=head_dim,
        interleaved=config.flag("rope_interleave"),
    )
    if rope.dim != rotating:
        raise config.unsupported(
            "partial_rotary_factor", f"makes {rope.dim} dimensions rotate, but there are {rotating} that do"
        )
    return replace(latent_attention_of(config, rope=rope), query_scaling=llama4_scaling(config))
