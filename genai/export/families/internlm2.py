"""InternLM 2: Llama with other names, and queries, keys and values stored by key/value head."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.llama import llama_attention, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    bias = config.flag("bias")
    return llama_decoder(config, replace(llama_attention(config), qkv_bias=bias, output_bias=bias))


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights."""
    num_kv_heads = config.integer("num_key_value_heads", config.integer("num_attention_heads"))
    return {
        "embedding": "tok_embeddings",
        "input_norm": "layers.{i}.attention_norm",
        ("attention.q", "attention.k", "attention.v"): Grouped("layers.{i}.attention.wqkv", num_kv_heads),
        "attention.output": "layers.{i}.attention.wo",
        "mlp_norm": "layers.{i}.ffn_norm",
        "mlp.gate": "layers.{i}.feed_forward.w1",
        "mlp.up": "layers.{i}.feed_forward.w3",
        "mlp.down": "layers.{i}.feed_forward.w2",
        "final_norm": "norm",
        "head": "output",
    }


FAMILY = Family(
    architectures=("InternLM2ForCausalLM",),
    model_type="internlm2",
    spec=spec,
    weights=weights,
    defaults={"bias": True, "rms_norm_eps": 1e-6, "tie_word_embeddings": False},
)
