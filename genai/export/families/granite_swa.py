"""Granite with windows on three layers of four, attention sinks, and a rotary base of each layer's own, or none."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import AttentionSpec, DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.granite import GRANITE_DEFAULTS, granite_attention, with_granite_factors
from genai.export.layouts.llama import LLAMA_WEIGHTS, pre_norm_decoder, sliding_windows

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    base = replace(granite_attention(config), sinks=True)
    windows = sliding_windows(config, is_sliding=lambda index: index % 4 != 0)
    attentions = [replace(base, window=window) for window in windows]
    if "layer_rope_theta" in config:
        thetas = config.numbers_of_layers("layer_rope_theta", len(windows))
        attentions = [_with_theta(each, theta) for each, theta in zip(attentions, thetas, strict=True)]
    return with_granite_factors(config, pre_norm_decoder(config, attentions))


def _with_theta(attention: AttentionSpec, theta: float) -> AttentionSpec:
    assert attention.rope is not None
    return replace(attention, rope=replace(attention.rope, theta=theta) if theta else None)


FAMILY = Family(
    architectures=("GraniteSWAForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={**LLAMA_WEIGHTS, "attention.sinks": "layers.{i}.self_attn.sinks"},
    defaults={
        **GRANITE_DEFAULTS,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-5,
        "sliding_window": 128,
        "tie_word_embeddings": True,
    },
)
