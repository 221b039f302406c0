"""OLMo Hybrid: the gated delta rule in most layers, OLMo 3's attention in the others, mostly without positions."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import AttentionSpec, DecoderSpec, GatedDeltaSpec, LayerSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import IfStored, WeightMap
from genai.export.layouts.gated_delta import gated_delta_weights
from genai.export.layouts.llama import decoder_of, layer_types, llama_attention, llama_mlp
from genai.export.layouts.olmo import OLMO_WEIGHTS, olmo_layer

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    mlp = replace(llama_mlp(config), bias=False)
    by_type = {
        "linear_attention": LayerSpec(_linear_attention(config), mlp, input_norm=norm, mlp_norm=norm),
        "full_attention": olmo_layer(_attention(config), mlp, norm),
    }
    return decoder_of(config, [by_type[kind] for kind in _layer_types(config)], final_norm=norm)


def _layer_types(config: ModelConfig) -> list[str]:
    """Each layer's type: every fourth layer attends to all tokens, or at least the last one."""
    num_layers = config.integer("num_hidden_layers")
    full = set(range(3, num_layers, 4)) or {num_layers - 1}
    return layer_types(config, "full_attention", "linear_attention", is_first=lambda index: index in full)


def _attention(config: ModelConfig) -> AttentionSpec:
    """The attention, which rotates nothing where the config has a null for how fast, as the published ones do."""
    attention, parameters = llama_attention(config), config.part("rope_parameters")
    key = "rope_theta"
    has_none = parameters.is_null(key) or (config.is_null(key) and key not in parameters)
    return replace(attention, rope=None) if has_none else attention


def _linear_attention(config: ModelConfig) -> GatedDeltaSpec:
    config.choice("hidden_act", ("silu", "swish"), "silu")  # it is also the convolution's
    num_heads = config.integer("num_attention_heads")
    num_key_heads = config.integer("linear_num_key_heads", num_heads)
    key_dim = config.integer("linear_key_head_dim", int(0.75 * config.integer("hidden_size") / num_key_heads))
    return GatedDeltaSpec(
        num_key_heads=num_key_heads,
        num_value_heads=config.integer("linear_num_value_heads", num_heads),
        key_dim=key_dim,
        value_dim=config.integer("linear_value_head_dim", 2 * key_dim),
        conv_width=config.integer("linear_conv_kernel_dim", minimum=2),
        norm=NormSpec("rms", 1e-5),
        beta_scale=2.0 if config.flag("linear_allow_neg_eigval") else 1.0,
    )


_WEIGHTS: WeightMap = {
    ("input_norm",): IfStored("layers.{i}.attention_layer_norm"),
    ("mlp_norm",): IfStored("layers.{i}.feedforward_layer_norm"),
    ("mixer_output_norm",): IfStored("layers.{i}.feedforward_layer_norm"),
    **OLMO_WEIGHTS,
    "input_norm": "layers.{i}.input_layernorm",
    "mlp_norm": "layers.{i}.post_attention_layernorm",
    **gated_delta_weights("layers.{i}.linear_attn"),
    "delta.decay": "layers.{i}.linear_attn.a_proj",
    "delta.gate": "layers.{i}.linear_attn.g_proj",
}
"""Published checkpoints have norms by names of their own, which transformers gives every norm before a feed-forward."""


FAMILY = Family(
    architectures=("OlmoHybridForCausalLM",),
    model_type="qwen3_5_text",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights=_WEIGHTS,
    defaults={
        "linear_allow_neg_eigval": True,
        "linear_conv_kernel_dim": 4,
        "max_position_embeddings": 65536,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    },
)
