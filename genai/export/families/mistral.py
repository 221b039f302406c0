"""Mistral 7B and what followed it densely: llama with one attention window for all layers."""

from __future__ import annotations

from genai.export.family import Family
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder
from genai.export.model_config import ModelConfig
from genai.export.spec import DecoderSpec

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    windows = [config.optional_integer("sliding_window")] * config.integer("num_hidden_layers")
    return llama_decoder(config, llama_attention(config), windows=windows)


FAMILY = Family(
    architectures=("MistralForCausalLM",),
    model_type="mistral",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={"num_key_value_heads": 8, "sliding_window": 4096},
)
