"""What families with Mamba-2 layers share: the keys that IBM's models set, and the names of the weights."""

from __future__ import annotations

import math

from genai.errors import CheckpointError
from genai.export.architecture import Mamba2Spec, NormSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Source, WeightMap
from genai.export.layouts.llama import LLAMA_WEIGHTS

__all__ = [
    "FEED_FORWARD_WEIGHTS",
    "MAMBA2_DEFAULTS",
    "check_time_steps",
    "mamba2_head_dim",
    "mamba2_mixer",
    "mamba2_weights",
]

MAMBA2_DEFAULTS = {
    "hidden_act": "silu",
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_state": 256,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_n_heads": 128,
    "mamba_proj_bias": False,
}
"""Values of transformers' config classes of Bamba and Granite."""


FEED_FORWARD_WEIGHTS: WeightMap = {
    **LLAMA_WEIGHTS,
    "mlp_norm": "layers.{i}.pre_ff_layernorm",
    "mlp.gate": "layers.{i}.feed_forward.gate_proj",
    "mlp.up": "layers.{i}.feed_forward.up_proj",
    "mlp.down": "layers.{i}.feed_forward.down_proj",
    "final_norm": "final_layernorm",
}
"""Llama's names where the feed-forward block and the norms around it have others (Bamba, Falcon-H1, Jamba)."""


def mamba2_mixer(config: ModelConfig) -> Mamba2Spec:
    """Return the mixer that these keys describe; its outputs are gated and then normalized.

    Raises:
        CheckpointError: The heads do not divide the width.
        UnsupportedModelError: Steps are limited, or the activation is another than silu.
    """
    config.choice("hidden_act", ("silu", "swish"))  # it is also the convolution's
    check_time_steps(config, "time_step_limit")
    num_heads = config.integer("mamba_n_heads")
    width = config.optional_integer("mamba_d_ssm")
    if width is None:
        width = config.integer("mamba_expand") * config.integer("hidden_size")
    return Mamba2Spec(
        num_heads=num_heads,
        head_dim=mamba2_head_dim(width, num_heads),
        num_groups=config.integer("mamba_n_groups"),
        state_size=config.integer("mamba_d_state"),
        conv_width=config.integer("mamba_d_conv", minimum=2),
        norm=NormSpec("rms", config.number("rms_norm_eps")),
        bias=config.flag("mamba_proj_bias"),
        conv_bias=config.flag("mamba_conv_bias"),
    )


def mamba2_head_dim(width: int, num_heads: int) -> int:
    """Return the width of a head: an even share of a layer's.

    Raises:
        CheckpointError: The heads do not divide it.
    """
    if width % num_heads:
        raise CheckpointError(
            f"config.json: {num_heads} heads do not divide a Mamba layer's width of {width}"
        )
    return width // num_heads


def check_time_steps(config: ModelConfig, key: str) -> None:
    """See that no limits are set for the steps, which prompts would keep and single tokens would not.

    Raises:
        UnsupportedModelError: There are.
    """
    if key in config and config.numbers(key) != (0.0, math.inf):
        raise config.unsupported(key, "limits the time steps, which cannot be exported")


def mamba2_weights(module: str) -> dict[str | tuple[str, ...], Source]:
    """Return the names of a mixer's weights; its inputs are stored as one matrix."""
    return {
        ("mamba.gate", "mamba.x", "mamba.b", "mamba.c", "mamba.step"): f"{module}.in_proj",
        "mamba.filter": f"{module}.conv1d",
        "mamba.step_bias": f"{module}.dt_bias",
        "mamba.decay_rates": f"{module}.A_log",
        "mamba.skip": f"{module}.D",
        "mamba.norm": f"{module}.norm",
        "mamba.output": f"{module}.out_proj",
    }
