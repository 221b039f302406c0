"""GLM-4.5 to 4.7: part of every head rotates, DeepSeek-V3's experts in all but the first layers."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.glm import GLM_MOE_DEFAULTS, GLM_MOE_WEIGHTS, glm_moe_decoder

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return glm_moe_decoder(config, has_qk_norm=config.flag("use_qk_norm"))


FAMILY = Family(
    architectures=("Glm4MoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=GLM_MOE_WEIGHTS,
    defaults={**GLM_MOE_DEFAULTS, "attention_bias": False, "use_qk_norm": False},
    ignored=(r"^model\.layers\.(46|92)\.",),  # predict the token after the next; decoding does without
)
