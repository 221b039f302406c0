"""OPT: learned positions from row 2 on, layer norms, biases everywhere; in OPT-350M the norms are on the stream itself."""

from __future__ import annotations

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, NormedStreamSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.gpt import gpt_mlp
from genai.export.layouts.llama import refuse_foreign_parts

__all__ = ["FAMILY"]

_WEIGHTS: WeightMap = {
    "embedding": "embed_tokens",
    "embedding_projection": "project_in",
    "head_projection": "project_out",
    "position_embedding": "embed_positions",
    "attention.q": "layers.{i}.self_attn.q_proj",
    "attention.k": "layers.{i}.self_attn.k_proj",
    "attention.v": "layers.{i}.self_attn.v_proj",
    "attention.output": "layers.{i}.self_attn.out_proj",
    "mlp.up": "layers.{i}.fc1",
    "mlp.down": "layers.{i}.fc2",
    "final_norm": "final_layer_norm",
    "head": "lm_head",
}


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_foreign_parts(config)
    hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    is_before, width = config.flag("do_layer_norm_before"), config.integer("word_embed_proj_dim", hidden_size)
    bias, affine = config.flag("enable_bias"), config.flag("layer_norm_elementwise_affine")
    norm = NormSpec("layer", 1e-5, bias=affine, weight=affine)
    head_dim = hidden_size // num_heads
    layer = LayerSpec(
        AttentionSpec(num_heads, num_heads, head_dim, qkv_bias=bias, output_bias=bias),
        gpt_mlp(config, size_key="ffn_dim", activation_key="activation_function", bias=bias),
        input_norm=norm if is_before else None,
        mlp_norm=norm,
        normed_stream=None if is_before else NormedStreamSpec((1.0, 1.0), (1.0, 1.0)),
        stream_norm=None if is_before else norm,
    )
    max_positions = config.integer("max_position_embeddings")
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=max_positions,
        layers=(layer,) * config.integer("num_hidden_layers"),
        final_norm=norm if is_before and not config.flag("_remove_final_layer_norm") else None,
        tied=config.flag("tie_word_embeddings"),
        embedding_size=None if width == hidden_size else width,
        learned_positions=max_positions,
        position_offset=2,
    )


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; where a norm is on the stream itself, the one after attention stands before the feed-forward block."""
    is_before = config.flag("do_layer_norm_before")
    places = ("input_norm", "mlp_norm") if is_before else ("mlp_norm", "stream_norm")
    names = ("layers.{i}.self_attn_layer_norm", "layers.{i}.final_layer_norm")
    return {**_WEIGHTS, **dict(zip(places, names, strict=True))}


FAMILY = Family(
    architectures=("OPTForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=weights,
    defaults={
        "_remove_final_layer_norm": False,
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "tie_word_embeddings": True,
    },
    prefixes=("model.decoder.", "decoder.", ""),
)
