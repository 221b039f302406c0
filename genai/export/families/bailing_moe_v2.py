"""Ling 2 and Ring 2: queries and keys are normalized per head, half of each rotates, DeepSeek-V3's experts."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.bailing import BAILING_ALIASES, BAILING_WEIGHTS
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import corrected_router, first_dense_layers, moe_decoder, shared_experts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    _refuse_others(config)
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention = replace(
        llama_attention(config),
        qk_norm=norm if config.flag("use_qk_norm") else None,
        qkv_bias=config.flag("use_qkv_bias"),
        output_bias=config.flag("use_bias"),
    )
    experts = shared_experts(config, corrected_router(config))
    return moe_decoder(config, attention, experts, dense=first_dense_layers(config))


def _refuse_others(config: ModelConfig) -> None:
    config.refuse("moe_router_enable_expert_bias", "a choice without a bias", unless=(None, True))
    config.refuse("score_function", "only sigmoid scores are known", unless=(None, "sigmoid"))
    config.refuse("use_rmsnorm", "only norms without means are known", unless=(None, True))
    config.refuse("norm_head", "a head that is normalized")
    config.refuse("use_sliding_window", "windows")
    config.refuse("using_split_qkv_in_self_attention", "queries, keys and values that are stored apart")


FAMILY = Family(
    architectures=("BailingMoeV2ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **BAILING_WEIGHTS,
        ("attention.q", "attention.k", "attention.v"): "layers.{i}.attention.query_key_value",
        "attention.q_norm": "layers.{i}.attention.query_layernorm",
        "attention.k_norm": "layers.{i}.attention.key_layernorm",
    },
    defaults={
        "first_k_dense_replace": 1,
        "head_dim": 128,
        "max_position_embeddings": 32768,
        "n_group": 8,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "rope_theta": 600000.0,
        "routed_scaling_factor": 1.0,
        "tie_word_embeddings": False,
        "topk_group": 4,
        "use_bias": False,
        "use_qk_norm": True,
        "use_qkv_bias": False,
    },
    aliases=BAILING_ALIASES,
    ignored=(r"^model\.layers\.(20|32|80)\.",),  # predict the token after the next; decoding does without
)
