"""GPT-NeoX: attention and feed-forward in parallel under norms of their own, partial rotary (Pythia, Dolly)."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import decoder_of

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    head_dim = hidden_size // num_heads
    bias = config.flag("attention_bias")
    norm = NormSpec("layer", config.number("layer_norm_eps"), bias=True)
    rope = read_rope(config, head_dim=head_dim, theta_key="rotary_emb_base", share_key="rotary_pct")
    layer = LayerSpec(
        AttentionSpec(num_heads, num_heads, head_dim, rope=rope, qkv_bias=bias, output_bias=bias),
        gpt_mlp(config),
        input_norm=norm,
        mlp_norm=norm,
        parallel=config.flag("use_parallel_residual"),
    )
    layers = [layer] * config.integer("num_hidden_layers")
    return decoder_of(config, layers, final_norm=norm)


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; queries, keys and values are stored head by head."""
    num_heads = config.integer("num_attention_heads")
    return {
        "embedding": "embed_in",
        "input_norm": "layers.{i}.input_layernorm",
        ("attention.q", "attention.k", "attention.v"): Grouped(
            "layers.{i}.attention.query_key_value", num_heads
        ),
        "attention.output": "layers.{i}.attention.dense",
        "mlp_norm": "layers.{i}.post_attention_layernorm",
        "mlp.up": "layers.{i}.mlp.dense_h_to_4h",
        "mlp.down": "layers.{i}.mlp.dense_4h_to_h",
        "final_norm": "final_layer_norm",
        "head": "embed_out",
    }


FAMILY = Family(
    architectures=("GPTNeoXForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=weights,
    defaults={
        "attention_bias": True,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
    },
    prefixes=("gpt_neox.", ""),
    ignored=(r"\.attention\.(masked_)?bias$",),
)
