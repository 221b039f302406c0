"""What gemma 3n and 4 share: layers that read an earlier one's cache, unscaled scores, inputs of each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from genai.export.architecture import (
    ACTIVATIONS,
    Activation,
    AttentionSpec,
    DecoderSpec,
    DenseAndExpertsSpec,
    FeedForward,
    LayerSpec,
    MlpSpec,
    NormSpec,
    PerLayerInputSpec,
)
from genai.export.architecture.rope import RopeSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap
from genai.export.layouts.gemma import GEMMA_WEIGHTS
from genai.export.layouts.llama import layer_types, refuse_foreign_parts

__all__ = [
    "GEMMA4_DEFAULTS",
    "GEMMA4_IGNORED",
    "GEMMA4_WEIGHTS",
    "gemma4_activation",
    "gemma4_attention",
    "gemma4_decoder",
    "gemma4_layer",
    "gemma4_norm",
    "gemma4_types",
    "source_layers",
]

GEMMA4_WEIGHTS: WeightMap = {
    **GEMMA_WEIGHTS,
    "per_layer_input.embedding": "embed_tokens_per_layer",
    "per_layer_input.projection": "per_layer_model_projection",
    "per_layer_input.norm": "per_layer_projection_norm",
    "layer_input.gate": "layers.{i}.per_layer_input_gate",
    "layer_input.projection": "layers.{i}.per_layer_projection",
    "layer_input.norm": "layers.{i}.post_per_layer_input_norm",
}

GEMMA4_DEFAULTS = {
    "attention_bias": False,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size_per_layer_input": 256,
    "num_attention_heads": 8,
    "rms_norm_eps": 1e-6,
    "sliding_window": 512,
    "tie_word_embeddings": True,
    "vocab_size_per_layer_input": 262144,
}
"""Values of transformers' config classes that both have."""

# Layers that read another one's cache have no use for keys and values of their own.
GEMMA4_IGNORED = (
    r"\.self_attn\.(k_proj|v_proj|k_norm|v_norm)\.",
    r"(^|\.)(vision_tower|audio_tower|embed_vision|embed_audio)\.",
)


def gemma4_norm(config: ModelConfig) -> NormSpec:
    """Return the norm that both use everywhere; its weight is stored as it is."""
    return NormSpec("rms", config.number("rms_norm_eps"))


def gemma4_activation(config: ModelConfig) -> Activation:
    """Return the activation of the feed-forward blocks and of the layers' inputs."""
    return ACTIVATIONS[config.choice("hidden_activation", ACTIVATIONS)]


def gemma4_types(config: ModelConfig, *, period: int) -> list[str]:
    """Return each layer's type; where the config does not say, every so many layers one sees everything."""
    return layer_types(
        config, "sliding_attention", "full_attention", is_first=lambda index: (index + 1) % period != 0
    )


def source_layers(config: ModelConfig, types: list[str]) -> list[int | None]:
    """Return the layer whose keys and values each layer reads, `None` if they are its own.

    Raises:
        UnsupportedModelError: Layers of a type are to read what none has.
    """
    num_own = len(types) - config.integer("num_kv_shared_layers", minimum=0)
    last = {kind: index for index, kind in enumerate(types[: max(0, num_own)])}
    missing = sorted(set(types) - last.keys())
    if missing:
        raise config.unsupported(
            "num_kv_shared_layers", f'leaves no layer of type "{missing[0]}" its own keys'
        )
    return [None if index < num_own else last[kind] for index, kind in enumerate(types)]


def gemma4_attention(config: ModelConfig, kind: str, *, rope: RopeSpec, source: int | None) -> AttentionSpec:
    """Return a layer's attention: normalized queries, keys and values, scores that are not scaled."""
    norm, bias = gemma4_norm(config), config.flag("attention_bias")
    return AttentionSpec(
        num_heads=config.integer("num_attention_heads"),
        num_kv_heads=config.integer("num_key_value_heads"),
        head_dim=config.integer("head_dim"),
        scale=1.0,
        window=config.integer("sliding_window") if kind == "sliding_attention" else None,
        rope=rope,
        qk_norm=norm,
        v_norm=replace(norm, weight=False),
        reads_layer=source,
        qkv_bias=bias,
        output_bias=bias,
    )


def gemma4_layer(config: ModelConfig, attention: AttentionSpec, mlp: FeedForward) -> LayerSpec:
    """Return a layer with a norm before and after each block; blocks with experts have their own before them."""
    norm = gemma4_norm(config)
    return LayerSpec(
        mixer=attention,
        mlp=mlp,
        input_norm=norm,
        mixer_output_norm=norm,
        mlp_norm=norm if isinstance(mlp, MlpSpec) else None,
        mlp_output_norm=norm,
    )


def gemma4_decoder(config: ModelConfig, layers: Sequence[LayerSpec]) -> DecoderSpec:
    """Return a decoder of these layers.

    Raises:
        UnsupportedModelError: Its tokens are to see later ones, or the config asks for what no decoder here has.
    """
    refuse_foreign_parts(config, experts=any(isinstance(layer.mlp, DenseAndExpertsSpec) for layer in layers))
    reason = "tokens cannot see later ones in a decoder with a cache"
    config.refuse("use_bidirectional_attention", reason, unless=(None, False, "vision"))
    hidden_size = config.integer("hidden_size")
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden_size,
        max_positions=config.integer("max_position_embeddings"),
        layers=tuple(layers),
        final_norm=gemma4_norm(config),
        tied=config.flag("tie_word_embeddings"),
        embedding_scale=math.sqrt(hidden_size),
        logit_softcap=config.optional_number("final_logit_softcapping"),
        per_layer_input=_per_layer_input(config),
    )


def _per_layer_input(config: ModelConfig) -> PerLayerInputSpec | None:
    """The layers' inputs of the tokens, if they have any."""
    size = config.integer("hidden_size_per_layer_input", minimum=0)
    if not size:
        return None
    vocab_size = config.integer("vocab_size_per_layer_input")
    return PerLayerInputSpec(vocab_size, size, gemma4_activation(config), gemma4_norm(config))
