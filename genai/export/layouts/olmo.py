"""What OLMo 2 and 3 share: norms after attention and feed-forward instead of before, and on all queries and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genai.export.architecture import AttentionSpec, DecoderSpec, FeedForward, LayerSpec, NormSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_mlp

__all__ = ["OLMO_WEIGHTS", "olmo_decoder", "olmo_layer"]

OLMO_WEIGHTS: WeightMap = {
    **{module: name for module, name in LLAMA_WEIGHTS.items() if module not in ("input_norm", "mlp_norm")},
    "attention.q_norm": "layers.{i}.self_attn.q_norm",
    "attention.k_norm": "layers.{i}.self_attn.k_norm",
    "mixer_output_norm": "layers.{i}.post_attention_layernorm",
    "mlp_output_norm": "layers.{i}.post_feedforward_layernorm",
}


def olmo_decoder(config: ModelConfig, attentions: Sequence[AttentionSpec]) -> DecoderSpec:
    """Return a decoder with one layer for each of these attentions, which get their norms here."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    mlp = replace(llama_mlp(config), bias=False)
    layers = [olmo_layer(attention, mlp, norm) for attention in attentions]
    return decoder_of(config, layers, final_norm=norm)


def olmo_layer(attention: AttentionSpec, mlp: FeedForward, norm: NormSpec) -> LayerSpec:
    """Return a layer with this attention, which gets its norms here."""
    return LayerSpec(
        replace(attention, qk_norm=norm, qk_norm_over="projection"),
        mlp,
        input_norm=None,
        mixer_output_norm=norm,
        mlp_output_norm=norm,
    )
