"""What families with mixtures of experts share: llama's layers, with experts in all or some of them.

It is no family itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genai.export.architecture import (
    ACTIVATIONS,
    AttentionSpec,
    DecoderSpec,
    LayerSpec,
    Mixer,
    MlpSpec,
    MoeSpec,
    NormSpec,
    RouterSpec,
)
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, layer_types, llama_mlp

__all__ = [
    "GRANITE_EXPERTS",
    "MIXTRAL_WEIGHTS",
    "QWEN_MOE_WEIGHTS",
    "SHARED_MOE_WEIGHTS",
    "corrected_router",
    "dense_layers",
    "expert_mlp",
    "first_dense_layers",
    "mixed_decoder",
    "moe_decoder",
    "num_experts",
    "shared_experts",
    "softmax_router",
]

QWEN_MOE_WEIGHTS: WeightMap = {
    **LLAMA_WEIGHTS,
    "mlp.router": "layers.{i}.mlp.gate",
    "mlp.experts.gate": "layers.{i}.mlp.experts.{e}.gate_proj",
    "mlp.experts.up": "layers.{i}.mlp.experts.{e}.up_proj",
    "mlp.experts.down": "layers.{i}.mlp.experts.{e}.down_proj",
}

SHARED_MOE_WEIGHTS: WeightMap = {
    **QWEN_MOE_WEIGHTS,
    "mlp.router.correction_bias": "layers.{i}.mlp.gate.e_score_correction_bias",
    "mlp.shared.gate": "layers.{i}.mlp.shared_experts.gate_proj",
    "mlp.shared.up": "layers.{i}.mlp.shared_experts.up_proj",
    "mlp.shared.down": "layers.{i}.mlp.shared_experts.down_proj",
}

MIXTRAL_WEIGHTS: WeightMap = {
    **LLAMA_WEIGHTS,
    "mlp.router": "layers.{i}.block_sparse_moe.gate",
    "mlp.experts.gate": "layers.{i}.block_sparse_moe.experts.{e}.w1",
    "mlp.experts.up": "layers.{i}.block_sparse_moe.experts.{e}.w3",
    "mlp.experts.down": "layers.{i}.block_sparse_moe.experts.{e}.w2",
}

GRANITE_EXPERTS: WeightMap = {
    "mlp.router": "layers.{i}.block_sparse_moe.router.layer",
    ("mlp.experts.gate", "mlp.experts.up"): "layers.{i}.block_sparse_moe.input_linear",
    "mlp.experts.down": "layers.{i}.block_sparse_moe.output_linear",
}


def num_experts(config: ModelConfig) -> int:
    """Return how many experts there are, under whichever name the config has them."""
    key = "num_experts" if "num_experts" in config else "num_local_experts"
    return config.integer(key)


def softmax_router(config: ModelConfig, *, normalize: bool = True, bias: bool = False) -> RouterSpec:
    """Return a router whose weights are probabilities over all experts, or over the chosen ones alone."""
    per_token = config.integer("num_experts_per_tok")
    return RouterSpec(num_experts(config), per_token, normalize=normalize, bias=bias)


def corrected_router(config: ModelConfig) -> RouterSpec:
    """Return DeepSeek-V3's router: sigmoids, a bias that only the choice knows, and groups that compete first."""
    config.refuse("scoring_func", "only sigmoid scores are known", unless=(None, "sigmoid"))
    config.refuse("topk_method", "only its own choice of experts is known", unless=(None, "noaux_tc"))
    return RouterSpec(
        num_experts=config.integer("n_routed_experts"),
        num_experts_per_token=config.integer("num_experts_per_tok"),
        scores="sigmoid",
        normalize=config.flag("norm_topk_prob"),
        scaling_factor=config.number("routed_scaling_factor"),
        num_groups=config.integer("n_group", 1),
        num_groups_per_token=config.integer("topk_group", 1),
        num_scores_per_group=2,
        correction_bias=True,
    )


def expert_mlp(config: ModelConfig, *, size_key: str = "intermediate_size") -> MlpSpec:
    """Return one expert: llama's gated feed-forward block of this size."""
    activation = ACTIVATIONS[config.choice("hidden_act", ACTIVATIONS, "silu")]
    return MlpSpec(config.integer(size_key), activation)


def dense_layers(config: ModelConfig) -> frozenset[int]:
    """Return qwen's layers without experts: `mlp_only_layers`, and all but every `decoder_sparse_step`th."""
    only = config.integers("mlp_only_layers") if "mlp_only_layers" in config else ()
    step = config.integer("decoder_sparse_step", 1)
    num_layers = config.integer("num_hidden_layers")
    return frozenset(only) | {index for index in range(num_layers) if (index + 1) % step}


def first_dense_layers(config: ModelConfig) -> frozenset[int]:
    """Return the layers without experts: by `mlp_layer_types` where the config has them, else the first ones."""
    first = config.integer("first_k_dense_replace", 0, minimum=0)
    types = layer_types(
        config, "dense", "sparse", is_first=lambda index: index < first, key="mlp_layer_types"
    )
    return frozenset(index for index, kind in enumerate(types) if kind == "dense")


def shared_experts(config: ModelConfig, router: RouterSpec) -> MoeSpec:
    """Return experts beside shared ones that every token passes, which together are one block."""
    expert = expert_mlp(config, size_key="moe_intermediate_size")
    num_shared = config.integer("n_shared_experts", 0, minimum=0)
    if not num_shared:
        return MoeSpec(router, expert)
    size, bias = num_shared * expert.intermediate_size, config.flag("mlp_bias", False)
    return MoeSpec(router, expert, shared=replace(expert, intermediate_size=size, bias=bias))


def moe_decoder(
    config: ModelConfig,
    attention: AttentionSpec,
    moe: MoeSpec,
    *,
    windows: Sequence[int | None] | None = None,
    dense: frozenset[int] = frozenset(),
    norm: NormSpec | None = None,
) -> DecoderSpec:
    """Return a decoder of pre-norm layers with experts.

    Args:
        config: The config.
        attention: The attention of every layer.
        moe: The experts of every layer.
        windows: Each layer's attention window; none have one if this is empty.
        dense: The layers with one feed-forward block instead of experts.
        norm: The norm everywhere; llama's if not given.
    """
    windows = windows or [None] * config.integer("num_hidden_layers")
    mixers = [replace(attention, window=window) for window in windows]
    return mixed_decoder(config, mixers, moe, dense=dense, norm=norm)


def mixed_decoder(
    config: ModelConfig,
    mixers: Sequence[Mixer],
    moe: MoeSpec,
    *,
    dense: frozenset[int] = frozenset(),
    norm: NormSpec | None = None,
) -> DecoderSpec:
    """Return a decoder of pre-norm layers with experts, one layer for each of these mixers; the rest as `moe_decoder`."""
    norm = norm or NormSpec("rms", config.number("rms_norm_eps", 1e-6))
    layers = [
        LayerSpec(
            mixer=mixer,
            mlp=llama_mlp(config) if index in dense else moe,
            input_norm=norm,
            mlp_norm=norm,
        )
        for index, mixer in enumerate(mixers)
    ]
    return decoder_of(config, layers, final_norm=norm)
