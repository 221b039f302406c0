"""Reading of rotary embeddings from config.json: transformers 5's `rope_parameters` or the older `rope_scaling`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from genai.errors import UnsupportedModelError, did_you_mean
from genai.export.architecture.rope import (
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    ProportionalScaling,
    RopeScaling,
    RopeSpec,
    YarnScaling,
)
from genai.export.checkpoint.model_config import ModelConfig

__all__ = ["max_positions_reason", "read_rope"]

DEFAULT_THETA = 10000.0


def read_rope(
    config: ModelConfig,
    *,
    head_dim: int,
    layer_type: str | None = None,
    theta_key: str = "rope_theta",
    share_key: str = "partial_rotary_factor",
    aliases: Mapping[str, str] | None = None,
    interleaved: bool = False,
) -> RopeSpec:
    """Return the rotary embedding that a config asks for.

    Args:
        config: The decoder's config.
        head_dim: Width of a head.
        layer_type: Which of several embeddings, where `rope_parameters` has one per layer type.
        theta_key: Where the base is, if not among the rotary parameters.
        share_key: Where the share of a head that rotates is, if not among the rotary parameters.
        aliases: Other names of types, in this family.
        interleaved: Whether neighbours rotate together.

    Raises:
        UnsupportedModelError: Its type is unknown, its two forms differ, or it is for other types of layers.
    """

    def read(parameters: ModelConfig) -> RopeSpec:
        theta = parameters.positive("rope_theta", config.number(theta_key, DEFAULT_THETA))
        share = parameters.number("partial_rotary_factor", config.number(share_key, 1.0))
        rope = _read_parameters(config, parameters, head_dim, theta, share, aliases or {})
        return replace(rope, interleaved=interleaved)

    parameters = _parameters_of(config, layer_type)
    if kinds := parameters.part_names():
        wanted = (
            f'"{layer_type}" layers' if layer_type else "all layers, which share one in this architecture"
        )
        raise config.unsupported(
            "rope_parameters", f"has a rotary embedding for each of {', '.join(kinds)}, but none for {wanted}"
        )
    rope = read(parameters)
    scaling = config.part("rope_scaling")
    has_both = "rope_parameters" in config and ("rope_type" in scaling or "type" in scaling)
    if has_both and layer_type != "sliding_attention" and read(scaling) != rope:
        raise config.unsupported(
            "rope_scaling", 'asks for another rotary embedding than "rope_parameters" does; keep one of them'
        )
    return rope


def _read_parameters(
    config: ModelConfig,
    parameters: ModelConfig,
    head_dim: int,
    theta: float,
    share: float,
    aliases: Mapping[str, str],
) -> RopeSpec:
    kind = parameters.string("rope_type", parameters.string("type", "default"))
    kind = aliases.get(kind, kind)
    if kind == "proportional":
        factor = parameters.positive("factor", 1.0)
        return RopeSpec(head_dim, theta, ProportionalScaling(int(share * head_dim // 2), factor))
    dim = int(head_dim * share)
    if dim % 2 or not 0 < dim <= head_dim:
        raise config.unsupported("partial_rotary_factor", f"makes {dim} of {head_dim} dimensions rotate")
    if kind not in _SCALINGS:
        raise UnsupportedModelError(
            f'config.json: "rope_type" is "{kind}", which is not supported; supported are '
            f"{', '.join(sorted(_SCALINGS))}.{did_you_mean(kind, _SCALINGS)}"
        )
    return RopeSpec(dim, theta, _SCALINGS[kind](config, parameters, dim))


def max_positions_reason(config: ModelConfig) -> str | None:
    """Return why sequences cannot be longer than max_position_embeddings, where the rotary type has a reason."""
    parameters = _parameters_of(config, None)
    if parameters.string("rope_type", parameters.string("type", "default")) != "dynamic":
        return None
    return (
        "its dynamic rotary scaling changes all earlier positions with every token beyond that length, which no "
        "cache can follow"
    )


def _parameters_of(config: ModelConfig, layer_type: str | None) -> ModelConfig:
    """The rotary parameters of a layer type, in whichever form the config has them."""
    if "rope_parameters" in config:
        parameters = config.part("rope_parameters")
        is_nested = layer_type is not None and layer_type in parameters
        return parameters.part(str(layer_type)) if is_nested else parameters
    if layer_type == "sliding_attention":  # older configs scale only the layers that see everything
        return ModelConfig({})
    return config.part("rope_scaling")


def _no_scaling(config: ModelConfig, parameters: ModelConfig, dim: int) -> None:  # noqa: ARG001 - one signature
    return None


def _linear(config: ModelConfig, parameters: ModelConfig, dim: int) -> RopeScaling:  # noqa: ARG001
    return LinearScaling(parameters.positive("factor"))


def _llama3(config: ModelConfig, parameters: ModelConfig, dim: int) -> RopeScaling:  # noqa: ARG001
    return Llama3Scaling(
        factor=parameters.positive("factor"),
        low_freq_factor=parameters.number("low_freq_factor"),
        high_freq_factor=parameters.number("high_freq_factor"),
        original_max_positions=_original_length(config, parameters),
    )


def _yarn(config: ModelConfig, parameters: ModelConfig, dim: int) -> RopeScaling:  # noqa: ARG001
    original = _original_length(config, parameters)
    factor = parameters.positive("factor", config.integer("max_position_embeddings") / original)
    magnitude = parameters.optional_number("attention_factor")
    if magnitude is None:
        mscale, mscale_all = parameters.number("mscale", 0), parameters.number("mscale_all_dim", 0)
        both = mscale and mscale_all
        magnitude = _mscale(factor, mscale) / _mscale(factor, mscale_all) if both else _mscale(factor, 1)
    return YarnScaling(
        factor=factor,
        original_max_positions=original,
        beta_fast=parameters.number("beta_fast", 32) or 32,
        beta_slow=parameters.number("beta_slow", 1) or 1,
        truncate=parameters.flag("truncate", True),
        magnitude=magnitude,
    )


def _longrope(config: ModelConfig, parameters: ModelConfig, dim: int) -> RopeScaling:
    original = _original_length(config, parameters)
    factor = parameters.positive("factor", config.integer("max_position_embeddings") / original)
    default = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    for key in ("short_factor", "long_factor"):
        found = len(parameters.numbers(key))
        if found != dim // 2:
            raise parameters.unsupported(
                key, f"must hold {dim // 2} numbers, half the rotary dimensions, not {found}"
            )
    return LongRopeScaling(
        short_factors=parameters.numbers("short_factor"),
        long_factors=parameters.numbers("long_factor"),
        original_max_positions=original,
        magnitude=_longrope_magnitude(parameters, default),
    )


def _longrope_magnitude(parameters: ModelConfig, default: float) -> float:
    """Phi 3.5 MoE names a magnitude for each length; where they are not one, the tables would have to differ too."""
    magnitude = parameters.number("short_mscale", parameters.number("attention_factor", default))
    if parameters.number("long_mscale", magnitude) != magnitude:
        raise parameters.unsupported(
            "long_mscale", 'is not "short_mscale"; genai has one magnitude for all lengths'
        )
    return magnitude


def _original_length(config: ModelConfig, parameters: ModelConfig) -> int:
    """The length before scaling; a key outside the rotary parameters counts more, as in transformers."""
    key = "original_max_position_embeddings"
    longest = parameters.optional_integer(key) or config.integer("max_position_embeddings")
    return config.integer(key, longest)


def _mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


_SCALINGS: dict[str, Callable[[ModelConfig, ModelConfig, int], RopeScaling | None]] = {
    "default": _no_scaling,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "mrope": _no_scaling,  # a token of an image has three positions, a token of text three times the same one
    "dynamic": _no_scaling,  # no scaling up to max_position_embeddings, and nothing beyond (max_positions_reason)
}
