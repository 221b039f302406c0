"""DeepSeek-V3, R1 and Kimi K2: experts chosen by groups with a bias that takes no part in their weights."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.deepseek import DEEPSEEK_V3_DEFAULTS, deepseek_decoder, deepseek_weights
from genai.export.layouts.moe import corrected_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    return deepseek_decoder(config, corrected_router(config))


FAMILY = Family(
    architectures=("DeepseekV3ForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights=deepseek_weights,
    defaults=DEEPSEEK_V3_DEFAULTS,
    ignored=(r"^model\.layers\.61\.",),  # predicts the token after the next; decoding does without
)
