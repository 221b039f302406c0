"""What families with Mamba layers share: how the mixer's weights are called, and decoders that have nothing else."""

from __future__ import annotations

import math

from genai.export.architecture import DecoderSpec, LayerSpec, Mamba2Spec, MambaSpec, NormSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import Source, WeightMap
from genai.export.layouts.llama import decoder_of

__all__ = [
    "BACKBONE_DEFAULTS",
    "BACKBONE_PREFIXES",
    "BACKBONE_WEIGHTS",
    "backbone_decoder",
    "mamba_mixer",
    "mamba_weights",
    "step_rank",
]

MAX_POSITIONS = 1 << 20
"""Longest sequence of a decoder without attention whose config.json names none.

It has no limit of its own: it knows no positions, and its states are as large behind any number of tokens.
"""

BACKBONE_DEFAULTS = {
    "conv_kernel": 4,
    "expand": 2,
    "hidden_act": "silu",
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": MAX_POSITIONS,
    "use_bias": False,
    "use_conv_bias": True,
}
"""Values of transformers' config classes of Mamba, Falcon-Mamba and Mamba-2."""

BACKBONE_WEIGHTS: WeightMap = {
    "embedding": "embeddings",
    "input_norm": "layers.{i}.norm",
    "final_norm": "norm_f",
    "head": "lm_head",
}

BACKBONE_PREFIXES = ("backbone.", "")


def backbone_decoder(config: ModelConfig, mixer: MambaSpec | Mamba2Spec) -> DecoderSpec:
    """Return a decoder whose layers are this mixer and nothing else, behind a norm."""
    config.refuse_misread("rms_norm", "only RMS norms are known", unless=(None, True))
    norm = NormSpec("rms", config.number("layer_norm_epsilon"))
    layer = LayerSpec(mixer, None, input_norm=norm)
    return decoder_of(config, [layer] * config.integer("num_hidden_layers"), final_norm=norm)


def mamba_mixer(config: ModelConfig, *, norm: NormSpec | None = None) -> MambaSpec:
    """Return the mixer that Mamba's keys describe."""
    config.choice("hidden_act", ("silu", "swish"))  # the convolution's; the gate always has it
    width = config.integer("expand") * config.integer("hidden_size")
    return MambaSpec(
        num_channels=config.integer("intermediate_size", width),
        state_size=config.integer("state_size"),
        step_rank=step_rank(config, "time_step_rank"),
        conv_width=config.integer("conv_kernel", minimum=2),
        norm=norm,
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )


def step_rank(config: ModelConfig, key: str) -> int:
    """Return the width of what the steps are computed from: a number, or "auto", which it is if the key is missing."""
    if config.is_text(key):
        config.choice(key, ("auto",))
        config = config.without(key)
    return config.integer(key, math.ceil(config.integer("hidden_size") / 16))


def mamba_weights(module: str) -> dict[str | tuple[str, ...], Source]:
    """Return the names of a mixer's weights, but for those of norms."""
    return {
        ("mamba.x", "mamba.gate"): f"{module}.in_proj",
        "mamba.filter": f"{module}.conv1d",
        ("mamba.selection.low", "mamba.selection.keys", "mamba.selection.queries"): f"{module}.x_proj",
        "mamba.selection.steps": f"{module}.dt_proj",
        "mamba.step_bias": f"{module}.dt_proj.bias",
        "mamba.decay_rates": f"{module}.A_log",
        "mamba.skip": f"{module}.D",
        "mamba.output": f"{module}.out_proj",
    }
