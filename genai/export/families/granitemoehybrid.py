"""Granite 4: Mamba-2 or attention in each layer, and one feed-forward block, alone or beside experts."""

from __future__ import annotations

from dataclasses import replace

from genai.export.architecture import DecoderSpec, FeedForward, LayerSpec, Mixer, MlpSpec, MoeSpec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.granite import (
    GRANITE_DEFAULTS,
    granite_attention,
    granite_block,
    with_granite_factors,
)
from genai.export.layouts.llama import LLAMA_WEIGHTS, decoder_of, llama_mlp
from genai.export.layouts.mamba2 import MAMBA2_DEFAULTS, mamba2_mixer, mamba2_weights
from genai.export.layouts.moe import GRANITE_EXPERTS, expert_mlp, softmax_router

__all__ = ["FAMILY"]

MAMBA_TYPES = {"mamba", "linear_attention"}
ATTENTION_TYPES = {"attention", "full_attention"}


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json."""
    norm, mlp = NormSpec("rms", config.number("rms_norm_eps")), _feed_forward(config)
    layers = [LayerSpec(mixer, mlp, input_norm=norm, mlp_norm=norm) for mixer in _mixers(config)]
    return with_granite_factors(config, decoder_of(config, layers, final_norm=norm))


def _mixers(config: ModelConfig) -> list[Mixer]:
    num_layers = config.integer("num_hidden_layers")
    types = config.strings("layer_types") if "layer_types" in config else ("mamba",) * num_layers
    others = sorted(set(types) - ATTENTION_TYPES - MAMBA_TYPES)
    if others or len(types) != num_layers:
        raise config.unsupported(
            "layer_types",
            f"asks for {len(types)} layers, {', '.join(others) or 'not the number that there are'}",
        )
    attention = granite_attention(config)
    if config.string("position_embedding_type", "nope") != "rope":
        attention = replace(attention, rope=None)
    return [mamba2_mixer(config) if kind in MAMBA_TYPES else attention for kind in types]


def _feed_forward(config: ModelConfig) -> FeedForward:
    shared = MlpSpec(config.integer("shared_intermediate_size"), llama_mlp(config).activation)
    if not config.integer("num_local_experts", minimum=0):
        return shared
    return MoeSpec(softmax_router(config), expert_mlp(config), shared=shared)


def weights(config: ModelConfig) -> WeightMap:
    """The block that every token passes is stored alike, whether there are experts beside it or not."""
    has_experts = config.integer("num_local_experts", minimum=0) > 0
    return {
        **{module: name for module, name in LLAMA_WEIGHTS.items() if "mlp." not in module},
        **mamba2_weights("layers.{i}.mamba"),
        **(GRANITE_EXPERTS if has_experts else {}),
        **granite_block("mlp.shared" if has_experts else "mlp"),
    }


FAMILY = Family(
    architectures=("GraniteMoeHybridForCausalLM",),
    model_type=lambda spec: "granitemoehybrid" if len(spec.attentions) < len(spec.layers) else "granite",
    spec=spec,
    weights=weights,
    defaults={
        **GRANITE_DEFAULTS,
        **MAMBA2_DEFAULTS,
        "num_experts_per_tok": 2,
        "num_local_experts": 8,
        "rms_norm_eps": 1e-6,
        "shared_intermediate_size": 1024,
    },
)
