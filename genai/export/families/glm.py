"""GLM-4 of 2024: half of every head rotates, neighbours together; gate and up are stored as one matrix."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.glm import GLM_DEFAULTS, GLM_WEIGHTS, glm_attention
from genai.export.layouts.llama import llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return llama_decoder(config, glm_attention(config))


FAMILY = Family(
    architectures=("GlmForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=GLM_WEIGHTS,
    defaults=GLM_DEFAULTS,
)
