"""ERNIE 4.5, the dense models: Llama with neighbours rotated together."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    rope = read_rope(config, head_dim=config.integer("head_dim"), interleaved=True)
    bias = config.flag("use_bias")
    attention = replace(llama_attention(config, rope=rope), qkv_bias=bias, output_bias=bias)
    norm, mlp = NormSpec("rms", config.number("rms_norm_eps")), replace(llama_mlp(config), bias=bias)
    layer = LayerSpec(attention, mlp, input_norm=norm, mlp_norm=norm)
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
    model_type="ernie4_5",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={
        "head_dim": 128,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "use_bias": False,
    },
)
