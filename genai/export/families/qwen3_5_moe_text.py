"""Qwen 3.5's decoder with experts, alone or within the multimodal model."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.qwen_next import (
    QWEN_NEXT_DEFAULTS,
    SEPARATE_INPUTS,
    qwen_next_decoder,
    qwen_next_experts,
    qwen_next_weights,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return qwen_next_decoder(config, qwen_next_experts(config))


def weights(config: ModelConfig) -> WeightMap:
    """Return the names of the parameters."""
    return {**qwen_next_weights(config), **SEPARATE_INPUTS}


FAMILY = Family(
    architectures=("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
    model_type="qwen3_5_moe_text",
    spec=spec,
    weights=weights,
    defaults={
        **QWEN_NEXT_DEFAULTS,
        "moe_intermediate_size": 512,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "num_key_value_heads": 2,
        "shared_expert_intermediate_size": 512,
        "vocab_size": 248320,
    },
    prefixes=("model.", "model.language_model.", ""),
    ignored=(r"(^|\.)visual\.", r"^mtp\."),
)
