"""Mamba: selective state spaces, and nothing else."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
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
    return backbone_decoder(config, mamba_mixer(config))


FAMILY = Family(
    architectures=("MambaForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights={**BACKBONE_WEIGHTS, **mamba_weights("layers.{i}.mixer")},
    defaults={
        **BACKBONE_DEFAULTS,
        "state_size": 16,
        "tie_word_embeddings": True,
    },
    prefixes=BACKBONE_PREFIXES,
)
