"""dots.llm1: Qwen 3's attention, DeepSeek-V3's experts."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention, sliding_windows
from genai.export.layouts.moe import (
    SHARED_MOE_WEIGHTS,
    corrected_router,
    first_dense_layers,
    moe_decoder,
    shared_experts,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    attention = replace(llama_attention(config), qk_norm=NormSpec("rms", config.number("rms_norm_eps")))
    first = config.integer("max_window_layers", minimum=0)
    return moe_decoder(
        config,
        attention,
        shared_experts(config, corrected_router(config)),
        windows=sliding_windows(config, is_sliding=lambda index: index >= first),
        dense=first_dense_layers(config),
    )


FAMILY = Family(
    architectures=("Dots1ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **SHARED_MOE_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
    },
    defaults={
        "first_k_dense_replace": 0,
        "max_window_layers": 62,
        "norm_topk_prob": False,
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-6,
        "routed_scaling_factor": 1.0,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
    },
)
