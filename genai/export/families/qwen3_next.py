"""Qwen3-Next: three layers of linear attention for each one of gated attention, many small experts."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Grouped, WeightMap
from genai.export.layouts.qwen_next import (
    QWEN_NEXT_DEFAULTS,
    qwen_next_decoder,
    qwen_next_experts,
    qwen_next_weights,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return qwen_next_decoder(config, qwen_next_experts(config))


def weights(config: ModelConfig) -> WeightMap:
    """The inputs of linear attention are stored key head by key head, each with the value heads that it serves."""
    groups, module = config.integer("linear_num_key_heads"), "layers.{i}.linear_attn"
    return {
        **qwen_next_weights(config),
        ("delta.q", "delta.k", "delta.v", "delta.gate"): Grouped(f"{module}.in_proj_qkvz", groups),
        ("delta.beta", "delta.decay"): Grouped(f"{module}.in_proj_ba", groups),
    }


FAMILY = Family(
    architectures=("Qwen3NextForCausalLM",),
    model_type="qwen3_5_moe_text",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights=weights,
    defaults={
        **QWEN_NEXT_DEFAULTS,
        "decoder_sparse_step": 1,
        "intermediate_size": 5632,
        "moe_intermediate_size": 512,
        "norm_topk_prob": True,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "num_key_value_heads": 2,
        "shared_expert_intermediate_size": 512,
        "vocab_size": 151936,
    },
    ignored=(r"^mtp\.",),
)
