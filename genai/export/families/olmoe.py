"""OLMoE: small experts, all queries normalized together, and all keys."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, MoeSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import QWEN_MOE_WEIGHTS, expert_mlp, moe_decoder, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("clip_qkv", "genai clips queries and keys before they are normalized, not after")
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention = replace(llama_attention(config), qk_norm=norm, qk_norm_over="projection")
    moe = MoeSpec(softmax_router(config, normalize=config.flag("norm_topk_prob")), expert_mlp(config))
    return moe_decoder(config, attention, moe)


FAMILY = Family(
    architectures=("OlmoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **QWEN_MOE_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
    },
    defaults={"norm_topk_prob": False, "rms_norm_eps": 1e-5},
)
