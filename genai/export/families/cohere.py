"""Command R and R+, and Aya: parallel blocks, neighbours rotated together, scaled logits."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.cohere import (
    COHERE_DEFAULTS,
    COHERE_WEIGHTS,
    cohere_attention,
    cohere_decoder,
    cohere_norm,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    attention = replace(
        cohere_attention(config),
        qk_norm=cohere_norm(config) if config.flag("use_qk_norm") else None,
        qk_norm_over="heads",
    )
    return cohere_decoder(config, [attention] * config.integer("num_hidden_layers"))


FAMILY = Family(
    architectures=("CohereForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=COHERE_WEIGHTS,
    defaults={**COHERE_DEFAULTS, "rope_theta": 500000.0, "use_qk_norm": False},
)
