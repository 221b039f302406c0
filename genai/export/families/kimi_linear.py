"""Kimi Linear: delta attention with decays of every key dimension, latent attention without positions in between."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, GatedDeltaSpec, LatentAttentionSpec, Mixer
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import IfStored, WeightMap
from genai.export.layouts.deepseek import latent_attention_of, latent_attention_weights
from genai.export.layouts.gated_delta import gated_delta_weights, kimi_delta
from genai.export.layouts.llama import layer_types
from genai.export.layouts.moe import (
    MIXTRAL_WEIGHTS,
    corrected_router,
    first_dense_layers,
    mixed_decoder,
    shared_experts,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse_misread("mla_use_nope", "latent attention with positions", unless=(None, True))
    config.refuse_misread(
        "moe_router_activation_func", "only sigmoid scores are known", unless=(None, "sigmoid")
    )
    config.refuse_misread("moe_layer_freq", "experts in every n-th layer only", unless=(None, 1))
    by_type: dict[str, Mixer] = {
        "full_attention": _latent_attention(config),
        "linear_attention": _delta(config),
    }
    mixers = [by_type[kind] for kind in _layer_types(config)]
    experts = shared_experts(config, corrected_router(config))
    return mixed_decoder(config.without("num_experts"), mixers, experts, dense=first_dense_layers(config))


def _layer_types(config: ModelConfig) -> list[str]:
    """Each layer's type; the older form of the config has lists of those of each type, counted from 1."""
    linear = config.part("linear_attn_config")
    if "full_attn_layers" in linear and "kda_layers" in linear:
        full = {layer - 1 for layer in linear.integers("full_attn_layers")}
    else:
        full = set(range(4, config.integer("num_hidden_layers"), 4))
    return layer_types(config, "full_attention", "linear_attention", is_first=lambda index: index in full)


def _latent_attention(config: ModelConfig) -> LatentAttentionSpec:
    unscaled = config.without("rope_parameters", "rope_scaling")  # there are no positions to scale
    return replace(latent_attention_of(unscaled), rope=None)


def _delta(config: ModelConfig) -> GatedDeltaSpec:
    linear = config.part("linear_attn_config")
    head_dim = linear.integer("head_dim", config.integer("linear_head_dim"))
    delta = kimi_delta(
        config,
        num_heads=linear.integer("num_heads", config.integer("linear_num_heads")),
        head_dim=head_dim,
        conv_width=linear.integer(
            "short_conv_kernel_size", config.integer("linear_conv_kernel_dim"), minimum=2
        ),
    )
    return replace(delta, decay_rank=head_dim, gate_rank=head_dim)


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; what transformers saves has the dense blocks under the experts' name."""
    attention, experts = "layers.{i}.self_attn", "layers.{i}.block_sparse_moe"
    projections = {name: f"{name}_proj" for name in ("gate", "up", "down")}
    return {
        **{(f"mlp.{name}",): IfStored(f"{experts}.{stored}") for name, stored in projections.items()},
        **MIXTRAL_WEIGHTS,
        **latent_attention_weights(attention, num_heads=config.integer("num_attention_heads")),
        **gated_delta_weights(attention),
        "delta.decay_down": f"{attention}.f_a_proj",
        "delta.decay": f"{attention}.f_b_proj",
        "delta.gate_down": f"{attention}.g_a_proj",
        "delta.gate": f"{attention}.g_b_proj",
        "mlp.router.correction_bias": f"{experts}.gate.e_score_correction_bias",
        **{
            f"mlp.shared.{name}": f"{experts}.shared_experts.{stored}" for name, stored in projections.items()
        },
    }


FAMILY = Family(
    architectures=("KimiLinearForCausalLM",),
    model_type="qwen3_5_moe_text",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights=weights,
    defaults={
        "attention_bias": False,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 512,
        "linear_conv_kernel_dim": 4,
        "linear_head_dim": 128,
        "linear_num_heads": 32,
        "max_position_embeddings": 1048576,
        "moe_intermediate_size": 1024,
        "n_group": 1,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-5,
        "routed_scaling_factor": 2.446,
        "tie_word_embeddings": False,
        "topk_group": 1,
        "v_head_dim": 128,
    },
    aliases={
        "model_max_length": "max_position_embeddings",
        "moe_renormalize": "norm_topk_prob",
        "num_expert_group": "n_group",
        "num_experts": "n_routed_experts",
        "num_experts_per_token": "num_experts_per_tok",
        "num_local_experts": "n_routed_experts",
        "num_shared_experts": "n_shared_experts",
    },
)
