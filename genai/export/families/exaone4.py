"""EXAONE 4: norms after attention and feed-forward block instead of before; full attention without positions."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp, sliding_windows

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm, mlp = NormSpec("rms", config.number("rms_norm_eps")), llama_mlp(config)
    attention = replace(llama_attention(config), qk_norm=norm)
    if "sliding_window" in config:
        attentions = [
            replace(attention, window=window, rope=attention.rope if window is not None else None)
            for window in _windows(config)
        ]
    else:
        attentions = [attention] * config.integer("num_hidden_layers")
    layers = [
        LayerSpec(attention, mlp, input_norm=None, mixer_output_norm=norm, mlp_output_norm=norm)
        for attention in attentions
    ]
    return decoder_of(config, layers, final_norm=norm)


def _windows(config: ModelConfig) -> list[int | None]:
    """Every layer has a window but each n-th, unless layer_types says otherwise."""
    period = 1 if "layer_types" in config else config.integer("sliding_window_pattern")
    return sliding_windows(config, is_sliding=lambda index: (index + 1) % period != 0)


FAMILY = Family(
    architectures=("Exaone4ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **LLAMA_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "mixer_output_norm": "layers.{i}.post_attention_layernorm",
        "mlp_output_norm": "layers.{i}.post_feedforward_layernorm",
    },
    defaults={
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-5,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "tie_word_embeddings": False,
    },
)
