"""K-EXAONE: EXAONE 4's attention within pre-norm layers, DeepSeek-V3's experts in all but the first."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.exaone import exaone_attentions
from genai.export.layouts.moe import (
    SHARED_MOE_WEIGHTS,
    corrected_router,
    first_dense_layers,
    mixed_decoder,
    shared_experts,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    experts = shared_experts(config, corrected_router(config))
    return mixed_decoder(config, exaone_attentions(config), experts, dense=first_dense_layers(config))


FAMILY = Family(
    architectures=("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM"),
    model_type="decoder",
    spec=spec,
    weights={
        **SHARED_MOE_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "mlp.router.correction_bias": "layers.{i}.mlp.e_score_correction_bias",
    },
    defaults={
        "first_k_dense_replace": 1,
        "n_routed_experts": 64,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-5,
        "routed_scaling_factor": 2.5,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "tie_word_embeddings": False,
    },
    aliases={"num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts"},
    ignored=(r"^mtp\.",),  # predicts the token after the next; decoding does without
)
