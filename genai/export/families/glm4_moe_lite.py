"""GLM-4.7-Flash: DeepSeek-V3 with GLM's sizes."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.deepseek import deepseek_decoder, deepseek_weights
from genai.export.layouts.moe import corrected_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return deepseek_decoder(config, corrected_router(config))


FAMILY = Family(
    architectures=("Glm4MoeLiteForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=deepseek_weights,
    defaults={
        "first_k_dense_replace": 1,
        "kv_lora_rank": 512,
        "n_group": 1,
        "n_routed_experts": 64,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 4,
        "q_lora_rank": 768,
        "qk_nope_head_dim": 192,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-5,
        "routed_scaling_factor": 1.8,
        "tie_word_embeddings": False,
        "topk_group": 1,
        "v_head_dim": 256,
    },
    ignored=(r"^model\.layers\.47\.",),  # predicts the token after the next; decoding does without
)
