"""MiniCPM 1 to 4: Llama with factors on embeddings, residual additions and logits (maximal update parametrization)."""

from __future__ import annotations

import math
from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("sparse_config", "attention to selected blocks cannot be exported")
    decoder = llama_decoder(config, llama_attention(config))
    scale = config.number("scale_depth") / math.sqrt(len(decoder.layers))
    return replace(
        decoder,
        embedding_scale=config.number("scale_emb"),
        layers=tuple(replace(layer, residual_scale=scale) for layer in decoder.layers),
        logit_scale=config.integer("dim_model_base") / decoder.hidden_size,
    )


FAMILY = Family(
    architectures=("MiniCPMForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={
        "dim_model_base": 1,
        "rms_norm_eps": 1e-6,
        "scale_depth": 1,
        "scale_emb": 1,
        "tie_word_embeddings": True,
    },
)
