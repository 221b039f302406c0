"""Qwen 3's mixtures of experts: Qwen 3 with many small experts."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, MoeSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import (
    QWEN_MOE_WEIGHTS,
    dense_layers,
    expert_mlp,
    moe_decoder,
    softmax_router,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention = replace(llama_attention(config), qk_norm=norm)
    moe = MoeSpec(
        softmax_router(config, normalize=config.flag("norm_topk_prob")),
        expert_mlp(config, size_key="moe_intermediate_size"),
    )
    window = config.optional_integer("sliding_window") if config.flag("use_sliding_window") else None
    windows = [window] * config.integer("num_hidden_layers")
    return moe_decoder(config, attention, moe, windows=windows, dense=dense_layers(config))


FAMILY = Family(
    architectures=("Qwen3MoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **QWEN_MOE_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
    },
    defaults={
        "norm_topk_prob": False,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "use_sliding_window": False,
    },
)
