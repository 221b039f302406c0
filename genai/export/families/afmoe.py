"""Trinity (AFMoE): gated heads, a norm before and after each block, positions only where there is a window."""

from __future__ import annotations

import math
from dataclasses import replace

from genai.export.architecture import AttentionSpec, DecoderSpec, LayerSpec, MoeSpec, NormSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Named
from genai.export.layouts.llama import decoder_of, layer_types, llama_attention, llama_mlp
from genai.export.layouts.moe import SHARED_MOE_WEIGHTS, shared_experts

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    num_dense, mlp, experts = (
        config.integer("num_dense_layers", minimum=0),
        llama_mlp(config),
        _experts(config),
    )
    layers = [
        LayerSpec(
            mixer=attention,
            mlp=mlp if index < num_dense else experts,
            input_norm=norm,
            mixer_output_norm=norm,
            mlp_norm=norm,
            mlp_output_norm=norm,
        )
        for index, attention in enumerate(_attentions(config, norm))
    ]
    decoder = decoder_of(
        config.without("num_experts"), layers, final_norm=norm
    )  # all may be dense all the same
    return replace(
        decoder, embedding_scale=math.sqrt(decoder.hidden_size) if config.flag("mup_enabled") else 1.0
    )


def _attentions(config: ModelConfig, norm: NormSpec) -> list[AttentionSpec]:
    config.refuse("attention_bias", "biases on all projections but that of the gate")
    base = replace(llama_attention(config), qk_norm=norm, output_gate=True)
    period = config.integer("global_attn_every_n_layers")
    types = layer_types(
        config, "sliding_attention", "full_attention", is_first=lambda index: (index + 1) % period != 0
    )
    local, full = replace(base, window=config.integer("sliding_window")), replace(base, rope=None)
    return [local if kind == "sliding_attention" else full for kind in types]


def _experts(config: ModelConfig) -> MoeSpec:
    config.refuse_misread("score_func", "only sigmoid scores are known", unless=(None, "sigmoid"))
    config.refuse_misread("route_norm", "weights of experts that do not add up to 1", unless=(None, True))
    config.refuse_misread("n_group", "groups of experts", unless=(None, 1))
    router = RouterSpec(
        num_experts=config.integer("num_experts"),
        num_experts_per_token=config.integer("num_experts_per_tok"),
        scores="sigmoid",
        scaling_factor=config.number("route_scale"),
        correction_bias=True,
    )
    return shared_experts(config, router)


FAMILY = Family(
    architectures=("AfmoeForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        **SHARED_MOE_WEIGHTS,
        "attention.gate": "layers.{i}.self_attn.gate_proj",
        "attention.q_norm": "layers.{i}.self_attn.q_norm",
        "attention.k_norm": "layers.{i}.self_attn.k_norm",
        "mixer_output_norm": "layers.{i}.post_attention_layernorm",
        "mlp_norm": "layers.{i}.pre_mlp_layernorm",
        "mlp_output_norm": "layers.{i}.post_mlp_layernorm",
        "mlp.router": "layers.{i}.mlp.router.gate",
        "mlp.router.correction_bias": Named("layers.{i}.mlp.expert_bias"),
    },
    defaults={
        "global_attn_every_n_layers": 4,
        "head_dim": 128,
        "moe_intermediate_size": 1408,
        "mup_enabled": False,
        "n_shared_experts": 2,
        "num_dense_layers": 1,
        "num_experts": 64,
        "num_experts_per_tok": 6,
        "rms_norm_eps": 1e-5,
        "route_scale": 1.0,
        "sliding_window": 1024,
        "tie_word_embeddings": False,
    },
    aliases={"num_shared_experts": "n_shared_experts"},
)
