"""Falcon-Mamba: Mamba, with B, C and what the steps are computed from normalized without weights."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.mamba import (
    BACKBONE_DEFAULTS,
    BACKBONE_PREFIXES,
    BACKBONE_WEIGHTS,
    backbone_decoder,
    mamba_mixer,
    mamba_weights,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("mixer_rms_eps"), weight=False)
    return backbone_decoder(config, mamba_mixer(config, norm=norm))


FAMILY = Family(
    architectures=("FalconMambaForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights={**BACKBONE_WEIGHTS, **mamba_weights("layers.{i}.mixer")},
    defaults={
        **BACKBONE_DEFAULTS,
        "mixer_rms_eps": 1e-6,
        "state_size": 16,
        "tie_word_embeddings": True,
    },
    prefixes=BACKBONE_PREFIXES,
)
