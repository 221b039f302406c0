"""MiniMax M2: part of every head rotates, all queries normalized together, and all keys; sigmoid scores."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, MoeSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import llama_attention
from genai.export.layouts.moe import MIXTRAL_WEIGHTS, corrected_router, expert_mlp, moe_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    _refuse_others(config)
    if "rotary_dim" in config:
        share = config.integer("rotary_dim") / config.integer("head_dim")
        config = config.filled(partial_rotary_factor=share)
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention = replace(llama_attention(config), qk_norm=norm, qk_norm_over="projection")
    return moe_decoder(config, attention, MoeSpec(corrected_router(config), expert_mlp(config)))


def _refuse_others(config: ModelConfig) -> None:
    """Refuse what the authors' own code knows and transformers does not look at."""
    for key, known in (("use_qk_norm", True), ("use_routing_bias", True), ("qk_norm_type", "per_layer")):
        config.refuse_misread(key, "another model than MiniMax M2", unless=(None, known))
    config.refuse_misread("shared_intermediate_size", "experts that every token passes", unless=(None, 0))
    if "attn_type_list" in config and set(config.integers("attn_type_list")) != {1}:
        config.refuse_misread("attn_type_list", "linear attention")


FAMILY = Family(
    architectures=("MiniMaxM2ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **MIXTRAL_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "mlp.router.correction_bias": "layers.{i}.block_sparse_moe.e_score_correction_bias",
    },
    defaults={
        "head_dim": 128,
        "n_routed_experts": 256,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5000000.0,
        "routed_scaling_factor": 1.0,
        "tie_word_embeddings": False,
    },
    aliases={"num_local_experts": "n_routed_experts"},
)
