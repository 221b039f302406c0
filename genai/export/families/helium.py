"""Helium: llama with neighbours rotated together."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, head_dim_of, llama_attention, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    rope = read_rope(config, head_dim=head_dim_of(config), interleaved=True)
    return llama_decoder(config, replace(llama_attention(config, rope=rope), output_bias=False))


FAMILY = Family(
    architectures=("HeliumForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={"num_key_value_heads": 20, "rms_norm_eps": 1e-8, "rope_theta": 100000.0},
)
