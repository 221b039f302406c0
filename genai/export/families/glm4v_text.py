"""The decoder within GLM-4.1V and 4.6V-Flash: GLM-4 of April 2025."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.glm import GLM4_WEIGHTS, glm4_decoder
from genai.export.layouts.llama import refuse_other_decoders

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    refuse_other_decoders(config, "glm4v_text", "glm4v", "glm46v")
    return glm4_decoder(config)


FAMILY = Family(
    architectures=("Glm4vForConditionalGeneration", "Glm46VForConditionalGeneration"),
    model_type="decoder",
    spec=spec,
    weights=GLM4_WEIGHTS,
    defaults={
        "attention_bias": True,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
    prefixes=("model.", "model.language_model.", ""),
    ignored=(r"^model\.visual\.",),
)
