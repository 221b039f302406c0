"""Qwen 3.5's decoder, alone or within the multimodal model: linear and gated attention, dense feed-forward blocks."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import llama_mlp
from genai.export.layouts.qwen_next import (
    QWEN_NEXT_DEFAULTS,
    SEPARATE_INPUTS,
    qwen_next_decoder,
    qwen_next_weights,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return qwen_next_decoder(config, [llama_mlp(config)] * config.integer("num_hidden_layers"))


def weights(config: ModelConfig) -> WeightMap:
    """Return the names of the parameters."""
    return {**qwen_next_weights(config), **SEPARATE_INPUTS}


FAMILY = Family(
    architectures=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"),
    model_type="qwen3_5_text",
    spec=spec,
    weights=weights,
    defaults={**QWEN_NEXT_DEFAULTS, "num_key_value_heads": 4, "vocab_size": 248320},
    prefixes=("model.", "model.language_model.", ""),
    ignored=(r"(^|\.)visual\.", r"^mtp\."),
)
