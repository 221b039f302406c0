"""GLM-4 of April 2025: as before, with a norm on the output of attention and feed-forward block too."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.glm import GLM_DEFAULTS, GLM_WEIGHTS, glm_attention
from genai.export.layouts.llama import llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    decoder = llama_decoder(config, glm_attention(config))
    norm = decoder.final_norm
    layers = [replace(layer, mixer_output_norm=norm, mlp_output_norm=norm) for layer in decoder.layers]
    return replace(decoder, layers=tuple(layers))


FAMILY = Family(
    architectures=("Glm4ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **GLM_WEIGHTS,
        "mixer_output_norm": "layers.{i}.post_self_attn_layernorm",
        "mlp_output_norm": "layers.{i}.post_mlp_layernorm",
    },
    defaults=GLM_DEFAULTS,
)
