"""What Qwen3-Next and Qwen 3.5 share: three layers of linear attention for each one of gated softmax attention."""

from __future__ import annotations

from collections.abc import Sequence

from genai.export.architecture import (
    AttentionSpec,
    DecoderSpec,
    FeedForward,
    GatedDeltaSpec,
    LayerSpec,
    Mixer,
    MoeSpec,
    NormSpec,
)
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, IfStored, Named, WeightMap
from genai.export.layouts.llama import decoder_of, layer_types, llama_mlp
from genai.export.layouts.moe import QWEN_MOE_WEIGHTS, dense_layers, expert_mlp, softmax_router

__all__ = [
    "QWEN_NEXT_DEFAULTS",
    "SEPARATE_INPUTS",
    "qwen_next_decoder",
    "qwen_next_experts",
    "qwen_next_weights",
]

QWEN_NEXT_DEFAULTS = {
    "attention_bias": False,
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_act": "silu",
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 32768,
    "num_attention_heads": 16,
    "partial_rotary_factor": 0.25,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""Values of transformers' config classes that both have."""

SEPARATE_INPUTS: WeightMap = {
    ("delta.q", "delta.k", "delta.v"): "layers.{i}.linear_attn.in_proj_qkv",
    "delta.gate": "layers.{i}.linear_attn.in_proj_z",
    "delta.beta": "layers.{i}.linear_attn.in_proj_b",
    "delta.decay": "layers.{i}.linear_attn.in_proj_a",
}
"""Qwen 3.5's names of the inputs of linear attention."""


def qwen_next_weights(config: ModelConfig) -> WeightMap:
    """Return the names of everything but the inputs of linear attention."""
    names = {name: source for name, source in QWEN_MOE_WEIGHTS.items() if name != "attention.q"}
    return {
        ("mlp.experts.gate", "mlp.experts.up"): IfStored(Named("layers.{i}.mlp.experts.gate_up_proj")),
        ("mlp.experts.down",): IfStored(Named("layers.{i}.mlp.experts.down_proj")),
        **names,
        "mlp.shared.gate": "layers.{i}.mlp.shared_expert.gate_proj",
        "mlp.shared.up": "layers.{i}.mlp.shared_expert.up_proj",
        "mlp.shared.down": "layers.{i}.mlp.shared_expert.down_proj",
        "mlp.shared_gate": "layers.{i}.mlp.shared_expert_gate",
        # each head's queries and then its gates
        ("attention.q", "attention.gate"): Grouped(
            "layers.{i}.self_attn.q_proj", groups=config.integer("num_attention_heads")
        ),
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        ("delta.q_filter", "delta.k_filter", "delta.v_filter"): "layers.{i}.linear_attn.conv1d",
        "delta.decay_rates": "layers.{i}.linear_attn.A_log",
        "delta.decay_bias": "layers.{i}.linear_attn.dt_bias",
        "delta.norm": "layers.{i}.linear_attn.norm",
        "delta.output": "layers.{i}.linear_attn.out_proj",
    }


def qwen_next_decoder(config: ModelConfig, mlps: Sequence[FeedForward]) -> DecoderSpec:
    """Return a decoder with one layer for each of these feed-forward blocks.

    Raises:
        UnsupportedModelError: A layer is of an unknown type.
    """
    interval = config.integer("full_attention_interval")
    types = layer_types(
        config, "linear_attention", "full_attention", is_first=lambda index: (index + 1) % interval != 0
    )
    norm = NormSpec("rms", config.number("rms_norm_eps"), offset=1.0)
    by_type: dict[str, Mixer] = {
        "full_attention": _attention(config, norm),
        "linear_attention": _linear_attention(config),
    }
    layers = [
        LayerSpec(by_type[kind], mlp, input_norm=norm, mlp_norm=norm)
        for kind, mlp in zip(types, mlps, strict=True)
    ]
    return decoder_of(config.without("num_experts"), layers, final_norm=norm)  # all may be dense all the same


def qwen_next_experts(config: ModelConfig) -> list[FeedForward]:
    """Return each layer's feed-forward block: experts and one that every token passes, or one block alone."""
    moe = MoeSpec(
        softmax_router(config, normalize=config.flag("norm_topk_prob", True)),
        expert_mlp(config, size_key="moe_intermediate_size"),
        shared=expert_mlp(config, size_key="shared_expert_intermediate_size"),
        shared_gate=True,
    )
    dense = dense_layers(config)
    return [
        llama_mlp(config) if index in dense else moe for index in range(config.integer("num_hidden_layers"))
    ]


def _attention(config: ModelConfig, norm: NormSpec) -> AttentionSpec:
    head_dim, bias = config.integer("head_dim"), config.flag("attention_bias")
    return AttentionSpec(
        num_heads=config.integer("num_attention_heads"),
        num_kv_heads=config.integer("num_key_value_heads"),
        head_dim=head_dim,
        rope=read_rope(config, head_dim=head_dim),
        qk_norm=norm,
        output_gate=True,
        qkv_bias=bias,
        output_bias=bias,
    )


def _linear_attention(config: ModelConfig) -> GatedDeltaSpec:
    config.choice("hidden_act", ("silu", "swish"))  # it is also the convolution's
    return GatedDeltaSpec(
        num_key_heads=config.integer("linear_num_key_heads"),
        num_value_heads=config.integer("linear_num_value_heads"),
        key_dim=config.integer("linear_key_head_dim"),
        value_dim=config.integer("linear_value_head_dim"),
        conv_width=config.integer("linear_conv_kernel_dim", minimum=2),
        norm=NormSpec("rms", config.number("rms_norm_eps")),
    )
