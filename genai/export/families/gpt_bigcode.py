"""SantaCoder and StarCoder 1: GPT-2 with one key/value head for all queries, matrices stored as [outputs, inputs]."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.gpt import GPT_ALIASES, gpt2_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    num_heads = config.integer("n_head")
    attention = AttentionSpec(
        num_heads,
        _num_kv_heads(config),
        config.integer("n_embd") // num_heads,
        scale=None if config.flag("scale_attn_weights") else 1.0,
        qkv_bias=True,
        output_bias=True,
    )
    return gpt2_decoder(config, [attention] * config.integer("n_layer"))


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; queries, keys and values are stored by key/value head."""
    return {
        "embedding": "wte",
        "position_embedding": "wpe",
        "input_norm": "h.{i}.ln_1",
        ("attention.q", "attention.k", "attention.v"): Grouped("h.{i}.attn.c_attn", _num_kv_heads(config)),
        "attention.output": "h.{i}.attn.c_proj",
        "mlp_norm": "h.{i}.ln_2",
        "mlp.up": "h.{i}.mlp.c_fc",
        "mlp.down": "h.{i}.mlp.c_proj",
        "final_norm": "ln_f",
        "head": "lm_head",
    }


def _num_kv_heads(config: ModelConfig) -> int:
    return 1 if config.flag("multi_query") else config.integer("n_head")


FAMILY = Family(
    architectures=("GPTBigCodeForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights=weights,
    defaults={
        "activation_function": "gelu_pytorch_tanh",
        "layer_norm_epsilon": 1e-5,
        "multi_query": True,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
    },
    aliases=GPT_ALIASES,
    prefixes=("transformer.", ""),
)
