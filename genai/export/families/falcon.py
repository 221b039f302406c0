"""Falcon 1 and 2: one or a few key/value heads, parallel layers, rotary or linear biases (Falcon 3 is a Llama)."""

from __future__ import annotations

from genai.export.architecture import (
    AlibiSpec,
    AttentionSpec,
    DecoderSpec,
    LayerSpec,
    NormSpec,
)
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import decoder_of

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    hidden_size, bias = config.integer("hidden_size"), config.flag("bias")
    is_new, parallel = config.flag("new_decoder_architecture"), config.flag("parallel_attn")
    if is_new and not parallel:
        raise config.unsupported("parallel_attn", "must be true in the new decoder architecture")
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    layer = LayerSpec(
        _attention(config),
        gpt_mlp(
            config,
            size_key="ffn_hidden_size",
            default_size=4 * hidden_size,
            activation_key="activation",
            bias=bias,
        ),
        input_norm=norm,
        mlp_norm=norm if not parallel or _has_two_norms(config) else None,
        parallel=parallel,
    )
    layers = [layer] * config.integer("num_hidden_layers")
    return decoder_of(config, layers, final_norm=norm)


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; queries, keys and values are stored by key/value head."""
    two_norms = _has_two_norms(config)
    return {
        "embedding": "word_embeddings",
        "input_norm": f"h.{{i}}.{'ln_attn' if two_norms else 'input_layernorm'}",
        ("attention.q", "attention.k", "attention.v"): Grouped(
            "h.{i}.self_attention.query_key_value", _num_kv_heads(config)
        ),
        "attention.output": "h.{i}.self_attention.dense",
        "mlp_norm": f"h.{{i}}.{'ln_mlp' if two_norms else 'post_attention_layernorm'}",
        "mlp.up": "h.{i}.mlp.dense_h_to_4h",
        "mlp.down": "h.{i}.mlp.dense_4h_to_h",
        "final_norm": "ln_f",
        "head": "lm_head",
    }


def _attention(config: ModelConfig) -> AttentionSpec:
    num_heads, bias = config.integer("num_attention_heads"), config.flag("bias")
    head_dim = config.integer("hidden_size") // num_heads
    is_alibi = config.flag("alibi")
    slopes = AlibiSpec.slopes_for(num_heads)
    return AttentionSpec(
        num_heads,
        _num_kv_heads(config),
        head_dim,
        rope=None if is_alibi else read_rope(config, head_dim=head_dim),
        alibi=AlibiSpec(slopes, is_bfloat16=True, factor=head_dim**-0.5) if is_alibi else None,
        qkv_bias=bias,
        output_bias=bias,
    )


def _num_kv_heads(config: ModelConfig) -> int:
    num_heads = config.integer("num_attention_heads")
    if config.flag("new_decoder_architecture"):
        return config.integer("num_kv_heads", num_heads)
    return 1 if config.flag("multi_query") else num_heads


def _has_two_norms(config: ModelConfig) -> bool:
    is_new = config.flag("new_decoder_architecture")
    return is_new and config.integer("num_ln_in_parallel_attn", 2) == 2


FAMILY = Family(
    architectures=("FalconForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=weights,
    defaults={
        "activation": "gelu",
        "alibi": False,
        "bias": False,
        "layer_norm_epsilon": 1e-5,
        "max_position_embeddings": 2048,
        "multi_query": True,
        "new_decoder_architecture": False,
        "parallel_attn": True,
        "tie_word_embeddings": True,
    },
    aliases={"n_embed": "hidden_size"},
    prefixes=("transformer.", ""),
)
