"""The decoder within GLM-4.5V and 4.6V: GLM-4.5's."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.glm import GLM_MOE_DEFAULTS, GLM_MOE_WEIGHTS, glm_moe_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse_misread("use_qk_norm", "norms on queries and keys")
    return glm_moe_decoder(config, has_qk_norm=False)


FAMILY = Family(
    architectures=("Glm4vMoeForConditionalGeneration",),
    model_type="decoder",
    spec=spec,
    weights=GLM_MOE_WEIGHTS,
    defaults={**GLM_MOE_DEFAULTS, "attention_bias": True},
    prefixes=("model.", "model.language_model.", ""),
    ignored=(
        r"^model\.visual\.",
        r"^model\.language_model\.layers\.46\.",  # predicts the token after the next
    ),
)
