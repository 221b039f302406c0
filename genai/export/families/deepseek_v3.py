"""DeepSeek-V3, R1 and Kimi K2: experts chosen by groups with a bias that takes no part in their weights."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.deepseek import deepseek_decoder, deepseek_weights

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("scoring_func", "only sigmoid scores are known", unless=(None, "sigmoid"))
    config.refuse("topk_method", "only its own choice of experts is known", unless=(None, "noaux_tc"))
    router = RouterSpec(
        num_experts=config.integer("n_routed_experts"),
        num_experts_per_token=config.integer("num_experts_per_tok"),
        scores="sigmoid",
        normalize=config.flag("norm_topk_prob"),
        scaling_factor=config.number("routed_scaling_factor"),
        num_groups=config.integer("n_group"),
        num_groups_per_token=config.integer("topk_group"),
        num_scores_per_group=2,
        correction_bias=True,
    )
    return deepseek_decoder(config, router)


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
