"""InternLM 3: Llama with biases of its own choice on queries, keys and values, and on everything else."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    qkv_bias = config.flag("qkv_bias", config.flag("attention_bias", False))
    bias = config.flag("bias", config.flag("mlp_bias", False))
    attention = replace(llama_attention(config), qkv_bias=qkv_bias, output_bias=bias)
    norm, mlp = NormSpec("rms", config.number("rms_norm_eps")), replace(llama_mlp(config), bias=bias)
    layer = LayerSpec(attention, mlp, input_norm=norm, mlp_norm=norm)
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


FAMILY = Family(
    architectures=("InternLM3ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={"head_dim": 128, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "tie_word_embeddings": False},
)
