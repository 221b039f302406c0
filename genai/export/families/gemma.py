"""Gemma 1: llama with stored norm weights - 1 and scaled embeddings."""

from __future__ import annotations

import math
from dataclasses import replace

from genai.export.architecture import DecoderSpec, LayerSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.gemma import gemma_norm
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_attention, llama_mlp

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("use_bidirectional_attention", "tokens cannot see later ones in a decoder with a cache")
    norm, mlp = gemma_norm(config), llama_mlp(config)
    if mlp.activation == "gelu":  # what the first releases say; they mean the approximation
        mlp = replace(mlp, activation="gelu_tanh")
    layer = LayerSpec(llama_attention(config), mlp, input_norm=norm, mlp_norm=norm)
    decoder = decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)
    return replace(decoder, embedding_scale=math.sqrt(decoder.hidden_size))


FAMILY = Family(
    architectures=("GemmaForCausalLM",),
    model_type="gemma",
    spec=spec,
    weights=LLAMA_WEIGHTS,
    defaults={
        "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh",
        "num_key_value_heads": 16,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    },
)
