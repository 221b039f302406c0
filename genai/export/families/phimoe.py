"""Phi 3.5 MoE: layer norms, biases on attention and head, experts chosen by SparseMixer, longrope."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, MoeSpec, NormSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import MIXTRAL_WEIGHTS, expert_mlp, moe_decoder, num_experts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    router = RouterSpec(
        num_experts(config),
        config.integer("num_experts_per_tok"),
        scores="sparse_mixer",
        normalize=False,
        tolerance=config.number("router_jitter_noise"),
    )
    decoder = moe_decoder(
        config,
        llama_attention(config),
        MoeSpec(router, expert_mlp(config)),
        windows=[config.optional_integer("sliding_window")] * config.integer("num_hidden_layers"),
        norm=NormSpec("layer", config.number("rms_norm_eps"), bias=True),
    )
    return replace(decoder, head_bias=config.flag("lm_head_bias"))


FAMILY = Family(
    architectures=("PhimoeForCausalLM", "PhiMoEForCausalLM"),
    model_type="phimoe",
    spec=spec,
    weights=MIXTRAL_WEIGHTS,
    defaults={
        "lm_head_bias": False,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "router_jitter_noise": 0.01,
    },
)
