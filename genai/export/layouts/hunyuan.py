"""What Hunyuan v1's models share: queries and keys normalized after the rotary embedding, whose base may be stretched."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import AttentionSpec, NormSpec
from genai.export.architecture.rope_config import read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import head_dim_of, llama_attention

__all__ = ["HUNYUAN_NORMS", "hunyuan_attention", "with_stretched_base"]

HUNYUAN_NORMS: WeightMap = {
    "attention.q_norm": "layers.{i}.self_attn.query_layernorm",
    "attention.k_norm": "layers.{i}.self_attn.key_layernorm",
}


def hunyuan_attention(config: ModelConfig) -> AttentionSpec:
    """Return the attention of every layer."""
    norm = NormSpec("rms", config.number("rms_norm_eps"))
    return replace(llama_attention(config), qk_norm=norm, qk_norm_after_rope=True)


def with_stretched_base(config: ModelConfig) -> ModelConfig:
    """Return the config with a plain rotary embedding where it asks for "dynamic" with an alpha.

    That one is not dynamic: the base is stretched once and for all, whatever the length.
    """
    parameters = config.part("rope_parameters" if "rope_parameters" in config else "rope_scaling")
    is_dynamic = parameters.string("rope_type", parameters.string("type", "default")) == "dynamic"
    if not is_dynamic or not parameters.optional_number("alpha"):
        return config
    head_dim = head_dim_of(config)
    theta = read_rope(config, head_dim=head_dim).theta
    theta *= parameters.positive("alpha") ** (head_dim / (head_dim - 2))
    plain = config.without("rope_parameters", "rope_scaling")
    return plain.overlaid(ModelConfig({"rope_theta": theta}))
