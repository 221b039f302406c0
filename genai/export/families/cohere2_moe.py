"""Command A+ and North: Command A with experts in all but the first layers, of which some rotate and see everything."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import AttentionSpec, DecoderSpec, MlpSpec, MoeSpec, NormSpec, RouterSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.cohere import (
    COHERE_DEFAULTS,
    COHERE_WEIGHTS,
    cohere_attention,
    cohere_decoder,
    cohere_norm,
)
from genai.export.layouts.llama import sliding_windows
from genai.export.layouts.moe import SHARED_MOE_WEIGHTS, expert_mlp, first_dense_layers, softmax_router

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    config.refuse_misread("use_qk_norm", "norms on queries and keys")
    config.refuse_misread("use_parallel_block", "blocks one after the other", unless=(None, True))
    dense, block, experts = first_dense_layers(config), _dense_block(config), _experts(config)
    attentions = _attentions(config, dense)
    eps = config.optional_number("rms_norm_eps")
    return cohere_decoder(
        config,
        attentions,
        mlps=[block if index in dense else experts for index in range(len(attentions))],
        norm=cohere_norm(config) if eps is None else NormSpec("rms", eps),
    )


def _attentions(config: ModelConfig, dense: frozenset[int]) -> list[AttentionSpec]:
    """The first layers have a pattern of their own; if all of them see everything, they rotate all the same."""
    num_first = config.integer("first_k_dense_replace", 0, minimum=0)
    first_period = config.integer("prefix_dense_sliding_window_pattern")
    period = config.integer("sliding_window_pattern")

    def is_sliding(index: int) -> bool:
        if index < num_first:
            return (index + 1) % first_period != 0
        return (index - num_first + 1) % period != 0

    attention = cohere_attention(config)
    return [
        replace(attention, window=window)
        if window is not None or (index in dense and first_period == 1)
        else replace(attention, rope=None)
        for index, window in enumerate(sliding_windows(config, is_sliding=is_sliding))
    ]


def _dense_block(config: ModelConfig) -> MlpSpec:
    has_own_size = "prefix_dense_intermediate_size" in config
    return expert_mlp(
        config, size_key="prefix_dense_intermediate_size" if has_own_size else "intermediate_size"
    )


def _experts(config: ModelConfig) -> MoeSpec:
    """An average of routed and shared experts is a sum of their halves."""
    router, expert = _router(config), expert_mlp(config)
    num_shared = config.integer("num_shared_experts", minimum=0)
    if not num_shared:
        return MoeSpec(router, expert)
    strategy = config.choice("shared_expert_combination_strategy", ("average", "sum"))
    factor = 0.5 if strategy == "average" else 1.0
    size = num_shared * expert.intermediate_size
    shared = replace(expert, intermediate_size=size, output_scale=factor)
    return MoeSpec(replace(router, scaling_factor=factor), expert, shared=shared)


def _router(config: ModelConfig) -> RouterSpec:
    if config.choice("expert_selection_fn", ("sigmoid", "softmax")) == "softmax":
        return softmax_router(config)
    normalize = config.flag("norm_topk_prob")
    return replace(softmax_router(config, normalize=normalize), scores="sigmoid")


FAMILY = Family(
    architectures=("Cohere2MoeForCausalLM",),
    model_type="decoder",
    spec=spec,
    weights={
        **{module: name for module, name in SHARED_MOE_WEIGHTS.items() if "mlp." in module},
        **COHERE_WEIGHTS,
    },
    defaults={
        **COHERE_DEFAULTS,
        "expert_selection_fn": "softmax",
        "head_dim": 128,
        "norm_topk_prob": True,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_shared_experts": 0,
        "prefix_dense_sliding_window_pattern": 1,
        "shared_expert_combination_strategy": "average",
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    },
)
