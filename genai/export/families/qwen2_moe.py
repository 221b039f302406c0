"""Qwen 1.5 and 2's mixtures of experts: Qwen 2 with small experts, and a gated one that every token passes."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, MoeSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention, sliding_windows
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
    attention = replace(llama_attention(config), qkv_bias=config.flag("qkv_bias"), output_bias=False)
    moe = MoeSpec(
        softmax_router(config, normalize=config.flag("norm_topk_prob")),
        expert_mlp(config, size_key="moe_intermediate_size"),
        shared=expert_mlp(config, size_key="shared_expert_intermediate_size"),
        shared_gate=True,
    )
    return moe_decoder(config, attention, moe, windows=_windows(config), dense=dense_layers(config))


def _windows(config: ModelConfig) -> list[int | None]:
    """Windows on every other layer below `max_window_layers`, where the config does not name the layers."""
    if not config.flag("use_sliding_window"):
        return [None] * config.integer("num_hidden_layers")
    end = config.integer("max_window_layers", minimum=0)
    return sliding_windows(config, is_sliding=lambda index: index % 2 == 0 and index < end)


FAMILY = Family(
    architectures=("Qwen2MoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **QWEN_MOE_WEIGHTS,
        "mlp.shared.gate": "layers.{i}.mlp.shared_expert.gate_proj",
        "mlp.shared.up": "layers.{i}.mlp.shared_expert.up_proj",
        "mlp.shared.down": "layers.{i}.mlp.shared_expert.down_proj",
        "mlp.shared_gate": "layers.{i}.mlp.shared_expert_gate",
    },
    defaults={
        "max_window_layers": 28,
        "norm_topk_prob": False,
        "num_key_value_heads": 16,
        "qkv_bias": True,
        "rms_norm_eps": 1e-6,
        "sliding_window": 4096,
        "use_sliding_window": False,
    },
)
