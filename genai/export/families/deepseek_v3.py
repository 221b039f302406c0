"""DeepSeek-V3, R1 and Kimi K2: experts chosen by groups with a bias that takes no part in their weights."""

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
    architectures=("DeepseekV3ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=deepseek_weights,
    defaults={
        "first_k_dense_replace": 3,
        "kv_lora_rank": 512,
        "n_group": 8,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "q_lora_rank": 1536,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-6,
        "routed_scaling_factor": 2.5,
        "tie_word_embeddings": False,
        "topk_group": 4,
        "v_head_dim": 128,
    },
    ignored=(r"^model\.layers\.61\.",),  # predicts the token after the next; decoding does without
)
