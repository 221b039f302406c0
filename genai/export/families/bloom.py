"""BLOOM: linear biases instead of positions, a norm on the embeddings, biases everywhere."""

from __future__ import annotations

from genai.export.architecture import AlibiSpec, AttentionSpec, DecoderSpec, LayerSpec, MlpSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    config.refuse("apply_residual_connection_post_layernorm", "a residual stream of normalized values")
    hidden_size, num_heads = config.integer("hidden_size"), config.integer("n_head")
    norm = NormSpec("layer", config.number("layer_norm_epsilon"), bias=True)
    attention = AttentionSpec(
        num_heads,
        num_heads,
        hidden_size // num_heads,
        alibi=AlibiSpec(AlibiSpec.slopes_for(num_heads)),
        qkv_bias=True,
        output_bias=True,
    )
    mlp = MlpSpec(4 * hidden_size, "gelu_tanh", gated=False, bias=True)
    layer = LayerSpec(attention, mlp, input_norm=norm, mlp_norm=norm)
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("seq_length"),
        layers=(layer,) * config.integer("n_layer"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings"),
        embedding_norm=norm,
    )


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; queries, keys and values are stored head by head."""
    return {
        "embedding": "word_embeddings",
        "embedding_norm": "word_embeddings_layernorm",
        "input_norm": "h.{i}.input_layernorm",
        ("attention.q", "attention.k", "attention.v"): Grouped(
            "h.{i}.self_attention.query_key_value", config.integer("n_head")
        ),
        "attention.output": "h.{i}.self_attention.dense",
        "mlp_norm": "h.{i}.post_attention_layernorm",
        "mlp.up": "h.{i}.mlp.dense_h_to_4h",
        "mlp.down": "h.{i}.mlp.dense_4h_to_h",
        "final_norm": "ln_f",
        "head": "lm_head",
    }


FAMILY = Family(
    architectures=("BloomForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=weights,
    defaults={
        "apply_residual_connection_post_layernorm": False,
        "layer_norm_epsilon": 1e-5,
        "seq_length": 2048,
        "tie_word_embeddings": True,
    },
    aliases={"n_embed": "hidden_size", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"},
    prefixes=("transformer.", ""),
)
