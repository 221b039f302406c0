"""What the Granite models share: factors on embeddings, scores, residuals and logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from genai.export.architecture import AttentionSpec, DecoderSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import llama_attention

__all__ = ["GRANITE_DEFAULTS", "granite_attention", "granite_block", "with_granite_factors"]

GRANITE_DEFAULTS: Mapping[str, float] = {
    "attention_multiplier": 1.0,
    "embedding_multiplier": 1.0,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
}


def granite_attention(config: ModelConfig) -> AttentionSpec:
    """Return llama's attention with the config's factor on the scores."""
    return replace(llama_attention(config), scale=config.positive("attention_multiplier"))


def granite_block(module: str) -> WeightMap:
    """Return where the feed-forward block is that every token passes, which the decoder knows by this name."""
    return {
        (f"{module}.gate", f"{module}.up"): "layers.{i}.shared_mlp.input_linear",
        f"{module}.down": "layers.{i}.shared_mlp.output_linear",
    }


def with_granite_factors(config: ModelConfig, decoder: DecoderSpec) -> DecoderSpec:
    """Return the decoder with the config's factors around and in its layers."""
    factor = config.number("residual_multiplier")
    return replace(
        decoder,
        layers=tuple(replace(layer, residual_scale=factor) for layer in decoder.layers),
        embedding_scale=config.number("embedding_multiplier"),
        logit_scale=1 / config.positive("logits_scaling"),
    )
