"""HyperCLOVA X SEED Think: Granite with norms after both blocks, if it has them, and logits that are multiplied."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.granite import GRANITE_DEFAULTS, granite_attention, with_granite_factors
from genai.export.layouts.llama import LLAMA_WEIGHTS, head_dim_of, llama_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    attention = granite_attention(config.filled(attention_multiplier=head_dim_of(config) ** -0.5))
    decoder = with_granite_factors(config, llama_decoder(config, attention))
    norm = NormSpec("rms", config.number("rms_norm_eps")) if config.flag("use_post_norm") else None
    layers = [replace(layer, mixer_output_norm=norm, mlp_output_norm=norm) for layer in decoder.layers]
    return replace(decoder, layers=tuple(layers), logit_scale=config.positive("logits_scaling"))


FAMILY = Family(
    architectures=("HyperCLOVAXForCausalLM",),
    model_type="decoder",  # onnxruntime-genai has no name for it
    spec=spec,
    weights={
        **LLAMA_WEIGHTS,
        "mixer_output_norm": "layers.{i}.post_norm1",
        "mlp_output_norm": "layers.{i}.post_norm2",
    },
    defaults={
        **{key: value for key, value in GRANITE_DEFAULTS.items() if key != "attention_multiplier"},
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "use_post_norm": True,
    },
)
