"""Granite's mixtures of experts with a block beside them that every token passes."""

from __future__ import annotations

from genai.export.architecture import DecoderSpec, MoeSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.granite import (
    GRANITE_DEFAULTS,
    granite_attention,
    granite_block,
    with_granite_factors,
)
from genai.export.layouts.llama import LLAMA_WEIGHTS
from genai.export.layouts.moe import GRANITE_EXPERTS, expert_mlp, moe_decoder, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    size_key = "shared_intermediate_size"
    has_shared = config.integer(size_key, minimum=0) > 0
    shared = expert_mlp(config, size_key=size_key) if has_shared else None
    experts = MoeSpec(softmax_router(config), expert_mlp(config), shared=shared)
    return with_granite_factors(config, moe_decoder(config, granite_attention(config), experts))


FAMILY = Family(
    architectures=("GraniteMoeSharedForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **{module: name for module, name in LLAMA_WEIGHTS.items() if "mlp." not in module},
        **GRANITE_EXPERTS,
        **granite_block("mlp.shared"),
    },
    defaults={
        **GRANITE_DEFAULTS,
        "num_experts_per_tok": 2,
        "num_local_experts": 8,
        "shared_intermediate_size": 0,
    },
)
