"""DeepSeek-V2 and V2-Lite: latent attention, experts weighed by probabilities over all of them."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.deepseek import deepseek_decoder, deepseek_weights

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse("scoring_func", "only softmax scores are known", unless=(None, "softmax"))
    config.refuse("norm_topk_prob", "weights of chosen experts that add up to 1")
    by_group = config.choice("topk_method", ("greedy", "group_limited_greedy")) == "group_limited_greedy"
    router = RouterSpec(
        num_experts=config.integer("n_routed_experts"),
        num_experts_per_token=config.integer("num_experts_per_tok"),
        normalize=False,
        scaling_factor=config.number("routed_scaling_factor"),
        num_groups=config.integer("n_group") if by_group else 1,
        num_groups_per_token=config.integer("topk_group") if by_group else 1,
    )
    return deepseek_decoder(config, router)


FAMILY = Family(
    architectures=("DeepseekV2ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=deepseek_weights,
    defaults={
        "first_k_dense_replace": 0,
        "kv_lora_rank": 512,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "q_lora_rank": 1536,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-6,
        "routed_scaling_factor": 1.0,
        "tie_word_embeddings": False,
        "topk_method": "greedy",
        "v_head_dim": 128,
    },
)
