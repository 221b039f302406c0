"""What Cohere's Command models share: parallel blocks, layer norms without bias, neighbours rotated together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from genai.export.architecture import AttentionSpec, DecoderSpec, FeedForward, LayerSpec, NormSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, head_dim_of, llama_attention, llama_mlp

__all__ = ["COHERE_DEFAULTS", "COHERE_WEIGHTS", "cohere_attention", "cohere_decoder", "cohere_norm"]

COHERE_WEIGHTS: WeightMap = {
    **{module: name for module, name in LLAMA_WEIGHTS.items() if module != "mlp_norm"},
    "attention.q_norm": "layers.{i}.self_attn.q_norm",
    "attention.k_norm": "layers.{i}.self_attn.k_norm",
}

COHERE_DEFAULTS: Mapping[str, Any] = {
    "layer_norm_eps": 1e-5,
    "logit_scale": 0.0625,
    "tie_word_embeddings": True,
}


def cohere_norm(config: ModelConfig) -> NormSpec:
    """Return the norm that is used everywhere."""
    return NormSpec("layer", config.number("layer_norm_eps"))


def cohere_attention(config: ModelConfig) -> AttentionSpec:
    """Return an attention with a rotary embedding."""
    return llama_attention(config, rope=read_rope(config, head_dim=head_dim_of(config), interleaved=True))


def cohere_decoder(
    config: ModelConfig,
    attentions: Sequence[AttentionSpec],
    *,
    mlps: Sequence[FeedForward] | None = None,
    norm: NormSpec | None = None,
) -> DecoderSpec:
    """Return a decoder with one layer for each of these attentions.

    Args:
        config: The config.
        attentions: The attention of each layer.
        mlps: The feed-forward block of each layer; llama's without biases if not given.
        norm: The norm everywhere; Cohere's if not given.
    """
    norm = norm or cohere_norm(config)
    mlps = mlps or [replace(llama_mlp(config), bias=False)] * len(attentions)
    layers = [
        LayerSpec(attention, mlp, input_norm=norm, parallel=True)
        for attention, mlp in zip(attentions, mlps, strict=True)
    ]
    return replace(decoder_of(config, layers, final_norm=norm), logit_scale=config.number("logit_scale"))
