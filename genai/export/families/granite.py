"""Granite 3, the dense models: llama with factors on embeddings, scores, residuals and logits."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.granite import GRANITE_DEFAULTS, granite_attention, with_granite_factors
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return with_granite_factors(config, llama_decoder(config, granite_attention(config)))


FAMILY = Family(
    architectures=("GraniteForCausalLM",),
    model_type="granite",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults=GRANITE_DEFAULTS,
)
