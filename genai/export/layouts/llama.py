"""The layout that llama set and most decoders keep: pre-norm layers, gated feed-forward, these config keys and names.

Families that differ in a few points start from here; it is no family itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
)
from genai.export.architecture.rope import RopeSpec
from genai.export.architecture.rope_config import max_positions_reason, read_rope
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap

__all__ = [
    "LLAMA_WEIGHTS",
    "decoder_of",
    "head_dim_of",
    "layer_types",
    "layers_with_rope",
    "llama_attention",
    "llama_decoder",
    "llama_mlp",
    "pre_norm_decoder",
    "refuse_foreign_parts",
    "refuse_other_decoders",
    "sliding_windows",
    "upper_windows",
]

LLAMA_WEIGHTS: WeightMap = {
    "embedding": "embed_tokens",
    "input_norm": "layers.{i}.input_layernorm",
    "attention.q": "layers.{i}.self_attn.q_proj",
    "attention.k": "layers.{i}.self_attn.k_proj",
    "attention.v": "layers.{i}.self_attn.v_proj",
    "attention.output": "layers.{i}.self_attn.o_proj",
    "mlp_norm": "layers.{i}.post_attention_layernorm",
    "mlp.gate": "layers.{i}.mlp.gate_proj",
    "mlp.up": "layers.{i}.mlp.up_proj",
    "mlp.down": "layers.{i}.mlp.down_proj",
    "final_norm": "norm",
    "head": "lm_head",
}


def head_dim_of(config: ModelConfig) -> int:
    """Return the width of a head: an even share of the hidden size unless the config has another."""
    return config.integer("head_dim", config.integer("hidden_size") // config.integer("num_attention_heads"))


def llama_attention(config: ModelConfig, *, rope: RopeSpec | None = None) -> AttentionSpec:
    """Return llama's attention, all four projections with a bias or without; `rope` if not the config's usual one."""
    num_heads = config.integer("num_attention_heads")
    head_dim = head_dim_of(config)
    bias = config.flag("attention_bias", False)
    return AttentionSpec(
        num_heads=num_heads,
        num_kv_heads=config.integer("num_key_value_heads", num_heads),
        head_dim=head_dim,
        rope=rope or read_rope(config, head_dim=head_dim),
        qkv_bias=bias,
        output_bias=bias,
    )


def llama_mlp(
    config: ModelConfig, *, activation_key: str = "hidden_act", default_activation: str | None = "silu"
) -> MlpSpec:
    """Return llama's gated feed-forward block; without a default the activation's key is required."""
    return MlpSpec(
        intermediate_size=config.integer("intermediate_size"),
        activation=ACTIVATIONS[config.choice(activation_key, ACTIVATIONS, default_activation)],
        bias=config.flag("mlp_bias", False),
    )


def llama_decoder(
    config: ModelConfig, attention: AttentionSpec, *, windows: Sequence[int | None] | None = None
) -> DecoderSpec:
    """Return a decoder of equal pre-norm layers.

    Args:
        config: The config.
        attention: The attention of every layer.
        windows: Each layer's attention window; none have one if this is empty.
    """
    windows = windows or [None] * config.integer("num_hidden_layers")
    return pre_norm_decoder(config, [replace(attention, window=window) for window in windows])


def pre_norm_decoder(config: ModelConfig, mixers: Sequence[Mixer]) -> DecoderSpec:
    """Return a decoder with one of llama's layers for each of these mixers."""
    norm, mlp = NormSpec("rms", config.number("rms_norm_eps", 1e-6)), llama_mlp(config)
    layers = [LayerSpec(mixer, mlp, input_norm=norm, mlp_norm=norm) for mixer in mixers]
    return decoder_of(config, layers, final_norm=norm)


def decoder_of(config: ModelConfig, layers: Sequence[LayerSpec], *, final_norm: NormSpec) -> DecoderSpec:
    """Return a decoder of any layers, with llama's keys for what is around them."""
    refuse_foreign_parts(config, experts=any(isinstance(layer.mlp, MoeSpec) for layer in layers))
    return DecoderSpec(
        vocab_size=config.integer("vocab_size"),
        hidden_size=config.integer("hidden_size"),
        max_positions=config.integer("max_position_embeddings"),
        layers=tuple(layers),
        final_norm=final_norm,
        tied=config.flag("tie_word_embeddings", False),
        max_positions_reason=max_positions_reason(config),
    )


def refuse_foreign_parts(config: ModelConfig, *, experts: bool = False) -> None:
    """Refuse what a config can ask of any decoder and no family here has.

    Args:
        config: The config.
        experts: Whether the family has mixtures of experts.

    Raises:
        UnsupportedModelError: It asks for it.
    """
    for key in ("num_experts", "num_local_experts"):
        if not experts:
            config.refuse(
                key, "mixtures of experts cannot be exported in this architecture", unless=(None, 0, 1)
            )
    config.refuse("add_cross_attention", "only decoders without an encoder can be exported")


def refuse_other_decoders(config: ModelConfig, *known: str) -> None:
    """Refuse a model that also sees images around a decoder of another `model_type` than these.

    Raises:
        UnsupportedModelError: It is one.
    """
    if "vision_config" in config:
        reason = f"only {known[0]} is known as the decoder within this model"
        config.refuse("model_type", reason, unless=(None, *known))


def sliding_windows(config: ModelConfig, *, is_sliding: Callable[[int], bool]) -> list[int | None]:
    """Return each layer's window: by `layer_types` where the config has them, else by the family's rule.

    Raises:
        UnsupportedModelError: A layer is of another type.
    """
    types = layer_types(config, "sliding_attention", "full_attention", is_first=is_sliding)
    window = config.optional_integer("sliding_window")
    return [window if kind == "sliding_attention" else None for kind in types]


def layer_types(
    config: ModelConfig,
    first: str,
    second: str,
    *,
    is_first: Callable[[int], bool],
    key: str = "layer_types",
) -> list[str]:
    """Return each layer's type, one of two: by the key where the config has it, else by the family's rule.

    Args:
        config: The config.
        first: One type.
        second: The other.
        is_first: Whether the layer of an index is of the first type, where the config does not say.
        key: The config's key of the types, if not the usual one.

    Raises:
        UnsupportedModelError: A layer is of another type.
    """
    num_layers = config.integer("num_hidden_layers")
    if key not in config:
        return [first if is_first(index) else second for index in range(num_layers)]
    types = list(config.strings(key))
    if len(types) != num_layers:
        raise config.unsupported(key, f"names {len(types)} layers, but there are {num_layers}")
    unknown = sorted(set(types) - {first, second})
    if unknown:
        raise config.unsupported(key, f'asks for "{unknown[0]}", which is not supported')
    return types


def layers_with_rope(config: ModelConfig) -> list[bool]:
    """Return whether each layer has a rotary embedding: every one but each n-th, or as listed, perhaps for more layers.

    Raises:
        UnsupportedModelError: The list is too short.
    """
    num_layers = config.integer("num_hidden_layers")
    if "no_rope_layers" not in config:
        interval = config.integer("no_rope_layer_interval")
        return [(index + 1) % interval != 0 for index in range(num_layers)]
    flags = config.integers("no_rope_layers")
    if len(flags) < num_layers:
        raise config.unsupported("no_rope_layers", f"names {len(flags)} layers, but there are {num_layers}")
    return [flag != 0 for flag in flags[:num_layers]]


def upper_windows(config: ModelConfig) -> list[int | None]:
    """Return qwen's windows: on the layers from `max_window_layers` up, if `use_sliding_window`."""
    if not config.flag("use_sliding_window", False):
        return [None] * config.integer("num_hidden_layers")
    first = config.integer("max_window_layers", minimum=0)
    return sliding_windows(config, is_sliding=lambda index: index >= first)
