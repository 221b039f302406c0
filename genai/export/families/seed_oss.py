"""Seed-OSS: llama with biases on queries, keys and values."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    attention = replace(llama_attention(config), output_bias=config.flag("attention_out_bias"))
    return llama_decoder(config, attention)


FAMILY = Family(
    architectures=("SeedOssForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={
        "attention_bias": True,
        "attention_out_bias": False,
        "head_dim": 128,
        "num_key_value_heads": 8,
    },
)
