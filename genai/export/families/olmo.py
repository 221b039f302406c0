"""OLMo 1: llama with layer norms without weights, and queries, keys and values clipped where the config asks."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("layer", 1e-5, weight=False)
    attention = replace(llama_attention(config), qkv_clip=config.optional_number("clip_qkv"))
    mlp = replace(llama_mlp(config), bias=False)
    layer = LayerSpec(attention, mlp, input_norm=norm, mlp_norm=norm)
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("OlmoForCausalLM",),
    model_type="olmo",
    spec=spec,
    weights=LLAMA_WEIGHTS,
)
