"""Mixtral 8x7B and 8x22B: Mistral with eight experts, two for each token."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, MoeSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import MIXTRAL_WEIGHTS, expert_mlp, moe_decoder, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    moe = MoeSpec(softmax_router(config), expert_mlp(config))
    windows = [config.optional_integer("sliding_window")] * config.integer("num_hidden_layers")
    return moe_decoder(config, llama_attention(config), moe, windows=windows)


FAMILY = Family(
    architectures=("MixtralForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=MIXTRAL_WEIGHTS,
    defaults={"num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 1e6},
)
