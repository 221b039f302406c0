"""What the MiniCPM models share: factors on embeddings, residual additions and logits (maximal update parametrization)."""

from __future__ import annotations

import math
from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.checkpoint.model_config import ModelConfig

__all__ = ["with_minicpm_factors"]


def with_minicpm_factors(config: ModelConfig, decoder: DecoderSpec) -> DecoderSpec:
    """Return the decoder with the config's factors around and in its layers; a null is a factor of 1."""
    depth = math.sqrt(len(decoder.layers))
    scale = config.number("scale_depth", depth) / depth
    return replace(
        decoder,
        embedding_scale=config.number("scale_emb"),
        layers=tuple(replace(layer, residual_scale=scale) for layer in decoder.layers),
        logit_scale=config.integer("dim_model_base", decoder.hidden_size) / decoder.hidden_size,
    )
