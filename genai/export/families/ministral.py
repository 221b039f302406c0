"""Ministral: Mistral with a window on some of its layers."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder, sliding_windows

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return llama_decoder(
        config, llama_attention(config), windows=sliding_windows(config, is_sliding=lambda _: True)
    )


FAMILY = Family(
    architectures=("MinistralForCausalLM",),
    model_type="mistral",  # onnxruntime-genai reads both alike
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={"num_key_value_heads": 8, "sliding_window": 4096},
)
