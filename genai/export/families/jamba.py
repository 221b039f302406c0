"""Jamba: Mamba with norms in most layers, attention without positions in the others, experts in every few."""

from __future__ import annotations

from genai.export.architecture import (
    AttentionSpec,
    DecoderSpec,
    FeedForward,
    LayerSpec,
    MambaSpec,
    MoeSpec,
    NormSpec,
)
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import decoder_of, head_dim_of, llama_mlp
from genai.export.layouts.mamba import mamba_weights, step_rank
from genai.export.layouts.mamba2 import FEED_FORWARD_WEIGHTS
from genai.export.layouts.moe import expert_mlp, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention, mamba, mlp, experts = (
        _attention(config),
        _mamba(config, norm),
        llama_mlp(config),
        _experts(config),
    )
    attending, sparse = _layers(config, "attn_layer"), _layers(config, "expert_layer")
    layers = [
        LayerSpec(
            attention if index in attending else mamba,
            experts if index in sparse else mlp,
            input_norm=norm,
            mlp_norm=norm,
        )
        for index in range(config.integer("num_hidden_layers"))
    ]
    return decoder_of(config, layers, final_norm=norm)


def _layers(config: ModelConfig, kind: str) -> frozenset[int]:
    """Return one layer of every period."""
    period, offset = config.integer(f"{kind}_period"), config.integer(f"{kind}_offset", minimum=0)
    return frozenset(
        index for index in range(config.integer("num_hidden_layers")) if index % period == offset
    )


def _attention(config: ModelConfig) -> AttentionSpec:
    config.refuse_misread("sliding_window", "windows cannot be exported", unless=(None,))
    num_heads = config.integer("num_attention_heads")
    return AttentionSpec(
        num_heads=num_heads,
        num_kv_heads=config.integer("num_key_value_heads", num_heads),
        head_dim=head_dim_of(config),
        rope=None,
    )


def _mamba(config: ModelConfig, norm: NormSpec) -> MambaSpec:
    config.choice("hidden_act", ("silu", "swish"))  # it is also the convolution's
    config.refuse_misread("mamba_inner_layernorms", "the norms are there", unless=(None, True))
    return MambaSpec(
        num_channels=config.integer("mamba_expand") * config.integer("hidden_size"),
        state_size=config.integer("mamba_d_state"),
        step_rank=step_rank(config, "mamba_dt_rank"),
        conv_width=config.integer("mamba_d_conv", minimum=2),
        norm=norm,
        bias=config.flag("mamba_proj_bias"),
        conv_bias=config.flag("mamba_conv_bias"),
    )


def _experts(config: ModelConfig) -> FeedForward:
    """Return the experts; one alone is a dense block, under its names."""
    if config.integer("num_experts") == 1:
        return llama_mlp(config)
    return MoeSpec(softmax_router(config, normalize=False), expert_mlp(config))


FAMILY = Family(
    architectures=("JambaForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights={
        **FEED_FORWARD_WEIGHTS,
        **mamba_weights("layers.{i}.mamba"),
        "mamba.selection.low_norm": "layers.{i}.mamba.dt_layernorm",
        "mamba.selection.keys_norm": "layers.{i}.mamba.b_layernorm",
        "mamba.selection.queries_norm": "layers.{i}.mamba.c_layernorm",
        "mlp.router": "layers.{i}.feed_forward.router",
        "mlp.experts.gate": "layers.{i}.feed_forward.experts.{e}.gate_proj",
        "mlp.experts.up": "layers.{i}.feed_forward.experts.{e}.up_proj",
        "mlp.experts.down": "layers.{i}.feed_forward.experts.{e}.down_proj",
    },
    defaults={
        "attn_layer_offset": 4,
        "attn_layer_period": 8,
        "expert_layer_offset": 1,
        "expert_layer_period": 2,
        "hidden_act": "silu",
        "mamba_conv_bias": True,
        "mamba_d_conv": 4,
        "mamba_d_state": 16,
        "mamba_expand": 2,
        "mamba_proj_bias": False,
        "max_position_embeddings": 262144,
        "num_experts": 16,
        "num_experts_per_tok": 2,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
    },
)
