"""Gemma 4's decoder, alone or within the multimodal model: wide global heads, some layers with experts."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import (
    AttentionSpec,
    DecoderSpec,
    DenseAndExpertsSpec,
    FeedForward,
    MlpSpec,
    MoeSpec,
    RouterSpec,
)
from genai.export.architecture.family import Family
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Named, WeightMap
from genai.export.layouts.gemma4 import (
    GEMMA4_DEFAULTS,
    GEMMA4_IGNORED,
    GEMMA4_WEIGHTS,
    gemma4_activation,
    gemma4_attention,
    gemma4_decoder,
    gemma4_layer,
    gemma4_norm,
    gemma4_types,
    source_layers,
)

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    types = [*gemma4_types(config, period=6)[:-1], "full_attention"]
    layers = []
    for index, (kind, source) in enumerate(zip(types, source_layers(config, types), strict=True)):
        block = _block(config, is_wide=source is not None and config.flag("use_double_wide_mlp"))
        attention = _attention(_of_layer(config, kind, index), kind, source)
        layers.append(replace(gemma4_layer(config, attention, block), has_scalar=True))
    return gemma4_decoder(config, layers)


def _attention(config: ModelConfig, kind: str, source: int | None) -> AttentionSpec:
    rope = read_rope(config, head_dim=config.integer("head_dim"), layer_type=kind)
    are_keys = kind == "full_attention" and config.flag("attention_k_eq_v")
    return replace(gemma4_attention(config, kind, rope=rope, source=source), values_are_keys=are_keys)


def _block(config: ModelConfig, *, is_wide: bool) -> FeedForward:
    activation = gemma4_activation(config)
    dense = MlpSpec(config.integer("intermediate_size") * (2 if is_wide else 1), activation)
    if not config.flag("enable_moe_block"):
        return dense
    router = RouterSpec(config.integer("num_experts"), config.integer("top_k_experts"), expert_scales=True)
    experts = MoeSpec(router, MlpSpec(config.integer("moe_intermediate_size"), activation))
    return DenseAndExpertsSpec(dense, experts, gemma4_norm(config))


def _of_layer(config: ModelConfig, kind: str, index: int) -> ModelConfig:
    """The config of one layer: transformers 5 writes what differs there, published configs have keys of their own."""
    if "per_layer_config" in config:
        return config.overlaid(config.part("per_layer_config").part(str(index)))
    if kind == "sliding_attention":
        return config
    values = {"head_dim": config.integer("global_head_dim")}
    if config.flag("attention_k_eq_v") and "num_global_key_value_heads" in config:
        values["num_key_value_heads"] = config.integer("num_global_key_value_heads")
    return config.overlaid(ModelConfig(values))


_BESIDE_EXPERTS: WeightMap = {
    "mlp.dense_norm": "layers.{i}.pre_feedforward_layernorm",
    "mlp.dense.gate": "layers.{i}.mlp.gate_proj",
    "mlp.dense.up": "layers.{i}.mlp.up_proj",
    "mlp.dense.down": "layers.{i}.mlp.down_proj",
    "mlp.dense_output_norm": "layers.{i}.post_feedforward_layernorm_1",
    "mlp.router_norm": Named("layers.{i}.router.scale"),
    "mlp.router": "layers.{i}.router.proj",
    "mlp.router.expert_scales": Named("layers.{i}.router.per_expert_scale"),
    "mlp.experts_norm": "layers.{i}.pre_feedforward_layernorm_2",
    ("mlp.experts.gate", "mlp.experts.up"): Named("layers.{i}.experts.gate_up_proj"),
    "mlp.experts.down": Named("layers.{i}.experts.down_proj"),
    "mlp.experts_output_norm": "layers.{i}.post_feedforward_layernorm_2",
}

FAMILY = Family(
    architectures=("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"),
    model_type="gemma4_text",
    spec=spec,
    weights={**GEMMA4_WEIGHTS, **_BESIDE_EXPERTS, "scalar": Named("layers.{i}.layer_scalar")},
    defaults={
        **GEMMA4_DEFAULTS,
        "attention_k_eq_v": False,
        "enable_moe_block": False,
        "global_head_dim": 512,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 4,
        "num_kv_shared_layers": 0,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional",
                "partial_rotary_factor": 0.25,
                "rope_theta": 1e6,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "use_double_wide_mlp": False,
        "vocab_size": 262144,
    },
    prefixes=("model.", "model.language_model.", ""),
    ignored=GEMMA4_IGNORED,
    outer_tied=True,
)
