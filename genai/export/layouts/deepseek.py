"""What DeepSeek's models and Mistral 4 share: latent attention, and experts beside shared ones in all but the first layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from genai.export.architecture import DecoderSpec, LatentAttentionSpec, NormSpec, RouterSpec
from genai.export.architecture.rope import RopeSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.moe import SHARED_MOE_WEIGHTS, first_dense_layers, mixed_decoder, shared_experts

__all__ = [
    "DEEPSEEK_V3_DEFAULTS",
    "deepseek_decoder",
    "deepseek_weights",
    "latent_attention_of",
    "latent_attention_weights",
]

DEEPSEEK_V3_DEFAULTS: Mapping[str, Any] = {
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_experts_per_tok": 8,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-6,
    "routed_scaling_factor": 2.5,
    "tie_word_embeddings": False,
    "topk_group": 4,
    "v_head_dim": 128,
}
"""Values of transformers' config classes of V3 and V3.2."""


def latent_attention_of(config: ModelConfig, *, rope: RopeSpec | None = None) -> LatentAttentionSpec:
    """Return the attention of every layer; `rope` if not the config's usual one."""
    rope_dim, nope_dim = config.integer("qk_rope_head_dim"), config.integer("qk_nope_head_dim")
    interleaved = config.flag("rope_interleave", True)
    return LatentAttentionSpec(
        num_heads=config.integer("num_attention_heads"),
        latent_dim=config.integer("kv_lora_rank"),
        nope_dim=nope_dim,
        shared_dim=rope_dim,
        value_dim=config.integer("v_head_dim"),
        rope=rope or read_rope(config, head_dim=rope_dim, interleaved=interleaved),
        norm=NormSpec("rms", 1e-6),
        scale=_scale_of(config, nope_dim + rope_dim),
        query_rank=config.optional_integer("q_lora_rank"),
        bias=config.flag("attention_bias", False),
    )


def deepseek_decoder(
    config: ModelConfig, router: RouterSpec, *, attention: LatentAttentionSpec | None = None
) -> DecoderSpec:
    """Return the decoder with this router in the layers that have experts; `attention` if not the usual one."""
    config.refuse("moe_layer_freq", "experts in every n-th layer only", unless=(None, 1))
    return mixed_decoder(
        config,
        [attention or latent_attention_of(config)] * config.integer("num_hidden_layers"),
        shared_experts(config, router),
        dense=first_dense_layers(config),
    )


def deepseek_weights(config: ModelConfig) -> WeightMap:
    """Name the weights."""
    return {
        **{
            module: name
            for module, name in SHARED_MOE_WEIGHTS.items()
            if module not in ("attention.k", "attention.v")
        },
        **latent_attention_weights("layers.{i}.self_attn", num_heads=config.integer("num_attention_heads")),
    }


def latent_attention_weights(module: str, *, num_heads: int) -> WeightMap:
    """Return the names of the weights of latent attention; each head's keys and values are stored together."""
    return {
        "attention.q": f"{module}.q_proj",
        "attention.q_down": f"{module}.q_a_proj",
        "attention.q_norm": f"{module}.q_a_layernorm",
        "attention.q_up": f"{module}.q_b_proj",
        "attention.kv_down": f"{module}.kv_a_proj_with_mqa",
        "attention.kv_norm": f"{module}.kv_a_layernorm",
        ("attention.k_up", "attention.v_up"): Grouped(f"{module}.kv_b_proj", num_heads),
        "attention.output": f"{module}.o_proj",
    }


def _scale_of(config: ModelConfig, query_dim: int) -> float:
    """The factor on the scores; YaRN's `mscale_all_dim` grows it by its square."""
    parameters = config.part("rope_parameters" if "rope_parameters" in config else "rope_scaling")
    mscale = parameters.number("mscale_all_dim", 0)
    kind = parameters.string("rope_type", parameters.string("type", "default"))
    if kind == "default" or not mscale or parameters.number("factor") <= 1:
        return 1 / math.sqrt(query_dim)
    growth = 0.1 * mscale * math.log(parameters.number("factor")) + 1.0
    return growth * growth / math.sqrt(query_dim)
