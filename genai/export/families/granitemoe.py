"""Granite 3's mixtures of experts: Granite, with experts stored in one tensor."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, MoeSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.granite import GRANITE_DEFAULTS, granite_attention, with_granite_factors
from genai.export.layouts.moe import GRANITE_EXPERTS, MIXTRAL_WEIGHTS, expert_mlp, moe_decoder, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    experts = MoeSpec(softmax_router(config), expert_mlp(config))
    return with_granite_factors(config, moe_decoder(config, granite_attention(config), experts))


FAMILY = Family(
    architectures=("GraniteMoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **{name: stored for name, stored in MIXTRAL_WEIGHTS.items() if "mlp." not in name},
        **GRANITE_EXPERTS,
    },
    defaults=GRANITE_DEFAULTS,
)
