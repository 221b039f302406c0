"""Solar Open: llama's attention, DeepSeek-V3's experts in all layers."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import SHARED_MOE_WEIGHTS, corrected_router, moe_decoder, shared_experts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse_misread("first_k_dense_replace", "layers without experts", unless=(None, 0))
    config.refuse_misread("use_qk_norm", "norms on queries and keys")
    attention = replace(llama_attention(config), output_bias=False)
    return moe_decoder(config, attention, shared_experts(config, corrected_router(config)))


FAMILY = Family(
    architectures=("SolarOpenForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=SHARED_MOE_WEIGHTS,
    defaults={
        "head_dim": 128,
        "n_routed_experts": 128,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0,
        "routed_scaling_factor": 1.0,
        "tie_word_embeddings": False,
    },
)
