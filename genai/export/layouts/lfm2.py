"""What lfm2 and lfm2_moe share: short convolutions and attention by layer type, and their own names of everything."""

from __future__ import annotations

from collections.abc import Sequence

from genai.export.architecture import (
    AttentionSpec,
    DecoderSpec,
    FeedForward,
    LayerSpec,
    Mixer,
    NormSpec,
    ShortConvolutionSpec,
)
from genai.export.architecture.rope_config import max_positions_reason, read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import head_dim_of, layer_types

__all__ = ["LFM2_WEIGHTS", "lfm2_decoder"]

LFM2_WEIGHTS: WeightMap = {
    "embedding": "embed_tokens",
    "input_norm": "layers.{i}.operator_norm",
    "attention.q": "layers.{i}.self_attn.q_proj",
    "attention.k": "layers.{i}.self_attn.k_proj",
    "attention.v": "layers.{i}.self_attn.v_proj",
    "attention.q_norm": "layers.{i}.self_attn.q_layernorm",
    "attention.k_norm": "layers.{i}.self_attn.k_layernorm",
    "attention.output": "layers.{i}.self_attn.out_proj",
    ("convolution.input_gate", "convolution.output_gate", "convolution.value"): "layers.{i}.conv.in_proj",
    "convolution.filter": "layers.{i}.conv.conv",
    "convolution.output": "layers.{i}.conv.out_proj",
    "mlp_norm": "layers.{i}.ffn_norm",
    "mlp.gate": "layers.{i}.feed_forward.w1",
    "mlp.up": "layers.{i}.feed_forward.w3",
    "mlp.down": "layers.{i}.feed_forward.w2",
    "final_norm": "embedding_norm",
    "head": "lm_head",
}


def lfm2_decoder(config: ModelConfig, mlps: Sequence[FeedForward]) -> DecoderSpec:
    """Return a decoder with one layer for each of these feed-forward blocks.

    Raises:
        UnsupportedModelError: A layer is of an unknown type.
    """
    norm = NormSpec("rms", config.number("norm_eps"))
    hidden_size, num_heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    head_dim = head_dim_of(config)
    by_type: dict[str, Mixer] = {
        "full_attention": AttentionSpec(
            num_heads=num_heads,
            num_kv_heads=config.integer("num_key_value_heads"),
            head_dim=head_dim,
            rope=read_rope(config, head_dim=head_dim),
            qk_norm=norm,
        ),
        "conv": ShortConvolutionSpec(
            num_channels=hidden_size,
            width=config.integer("conv_L_cache", minimum=2),
            bias=config.flag("conv_bias"),
        ),
    }
    attending = config.integers("full_attn_idxs") if "full_attn_idxs" in config else range(len(mlps))
    types = layer_types(config, "full_attention", "conv", is_first=lambda index: index in attending)
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("max_position_embeddings"),
        layers=tuple(
            LayerSpec(by_type[kind], mlp, input_norm=norm, mlp_norm=norm)
            for kind, mlp in zip(types, mlps, strict=True)
        ),
        final_norm=norm,
        tied=config.flag("tie_embedding", config.flag("tie_word_embeddings")),
        max_positions_reason=max_positions_reason(config),
    )
