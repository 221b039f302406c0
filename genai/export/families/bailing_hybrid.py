"""Ling 3: Kimi's delta attention with bounded decays in most layers, latent attention with gated heads in the others."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, GatedDeltaSpec, LatentAttentionSpec, Mixer
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import IfStored, WeightMap
from genai.export.layouts.bailing import BAILING_ALIASES, BAILING_WEIGHTS
from genai.export.layouts.deepseek import latent_attention_of, latent_attention_weights
from genai.export.layouts.gated_delta import gated_delta_weights, kimi_delta
from genai.export.layouts.llama import layer_types
from genai.export.layouts.moe import corrected_router, first_dense_layers, mixed_decoder, shared_experts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse_misread("rope_interleave", "halves that rotate together", unless=(None, True))
    interval = config.integer("layer_group_size")
    types = layer_types(
        config, "full_attention", "linear_attention", is_first=lambda index: (index + 1) % interval == 0
    )
    by_type: dict[str, Mixer] = {
        "full_attention": _latent_attention(config),
        "linear_attention": _delta(config),
    }
    mixers = [by_type[kind] for kind in types]
    experts = shared_experts(config, corrected_router(config))
    return mixed_decoder(config.without("num_experts"), mixers, experts, dense=first_dense_layers(config))


def _latent_attention(config: ModelConfig) -> LatentAttentionSpec:
    return replace(latent_attention_of(config), head_gate=True)


def _delta(config: ModelConfig) -> GatedDeltaSpec:
    """The delta attention; transformers saves its widths under other names, and the latent attention's as head_dim."""
    delta = kimi_delta(
        config,
        num_heads=config.integer("linear_num_heads", config.integer("num_attention_heads")),
        head_dim=config.integer("linear_head_dim", config.integer("head_dim", 128)),
        conv_width=config.integer(
            "linear_conv_kernel_dim", config.integer("short_conv_kernel_size"), minimum=2
        ),
    )
    floor = config.number("kda_lower_bound") if config.flag("kda_safe_gate") else None
    return replace(delta, decay_floor=floor)


def weights(config: ModelConfig) -> WeightMap:
    """Name the weights; both kinds of attention call their output alike, or the linear one has a name of its own."""
    attention = "layers.{i}.attention"
    return {
        ("delta.output",): IfStored(f"{attention}.o_proj"),
        **latent_attention_weights(attention, num_heads=config.integer("num_attention_heads")),
        **gated_delta_weights(attention),
        **BAILING_WEIGHTS,
        "attention.head_gate": f"{attention}.g_proj",
        "delta.decay": f"{attention}.f_proj",
        "delta.gate": f"{attention}.g_proj",
        "delta.output": f"{attention}.dense",
    }


FAMILY = Family(
    architectures=("BailingHybridForCausalLM",),
    model_type="qwen3_5_moe_text",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights=weights,
    defaults={
        "attention_bias": False,
        "first_k_dense_replace": 2,
        "kda_lower_bound": -5.0,
        "kda_safe_gate": True,
        "kv_lora_rank": 512,
        "layer_group_size": 6,
        "max_position_embeddings": 262144,
        "moe_intermediate_size": 768,
        "n_group": 8,
        "n_routed_experts": 512,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_experts_per_tok": 8,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-6,
        "rope_theta": 6000000.0,
        "routed_scaling_factor": 2.5,
        "short_conv_kernel_size": 4,
        "tie_word_embeddings": False,
        "topk_group": 4,
        "v_head_dim": 128,
    },
    aliases={
        **BAILING_ALIASES,
        "model_max_length": "max_position_embeddings",
        "moe_renormalize": "norm_topk_prob",
        "num_expert_group": "n_group",
        "num_experts_per_token": "num_experts_per_tok",
        "num_local_experts": "n_routed_experts",
    },
    ignored=(r"^model\.layers\.42\.",),  # predicts the token after the next; decoding does without
)
