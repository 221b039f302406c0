"""Hunyuan v1 dense: queries and keys are normalized after the rotary embedding, whose base may be stretched."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.llama import LLAMA_WEIGHTS, llama_attention, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    attention = replace(llama_attention(config), qk_norm=norm, qk_norm_after_rope=True)
    decoder = llama_decoder(config, attention)
    parameters = config.part("rope_parameters" if "rope_parameters" in config else "rope_scaling")
    is_dynamic = parameters.string("rope_type", parameters.string("type", "default")) == "dynamic"
    if attention.rope is None or not is_dynamic or not parameters.optional_number("alpha"):
        return decoder
    # "dynamic" with an alpha is not: the base is stretched once and for all, whatever the length.
    dim = attention.rope.dim
    theta = attention.rope.theta * parameters.positive("alpha") ** (dim / (dim - 2))
    attention = replace(attention, rope=replace(attention.rope, theta=theta))
    return replace(llama_decoder(config, attention), max_positions_reason=None)


FAMILY = Family(
    architectures=("HunYuanDenseV1ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **LLAMA_WEIGHTS,
        "attention.q_norm": "layers.{i}.self_attn.query_layernorm",
        "attention.k_norm": "layers.{i}.self_attn.key_layernorm",
    },
    defaults={"rms_norm_eps": 1e-5, "tie_word_embeddings": False},
)
