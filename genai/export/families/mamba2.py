"""Mamba-2: state spaces by state-space duality, and nothing else."""

from __future__ import annotations

from genai.errors import CheckpointError
from genai.export.architecture import DecoderSpec, Mamba2Spec, NormSpec
from genai.export.architecture.family import Family
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.layouts.mamba import (
    BACKBONE_DEFAULTS,
    BACKBONE_PREFIXES,
    BACKBONE_WEIGHTS,
    backbone_decoder,
)
from genai.export.layouts.mamba2 import check_time_steps, mamba2_weights

__all__ = ["FAMILY"]


def spec(config: ModelConfig) -> DecoderSpec:
    """Derive the decoder from config.json.

    `norm_before_gate` says nothing, as published: it is true where the outputs are gated first.
    """
    return backbone_decoder(config, _mixer(config))


def _mixer(config: ModelConfig) -> Mamba2Spec:
    config.choice("hidden_act", ("silu", "swish"))  # the convolution's; the gate always has it
    check_time_steps(config, "time_step_limit")
    mixer = Mamba2Spec(
        num_heads=config.integer("num_heads"),
        head_dim=config.integer("head_dim"),
        num_groups=config.integer("n_groups"),
        state_size=config.integer("state_size"),
        conv_width=config.integer("conv_kernel", minimum=2),
        norm=NormSpec("rms", config.number("layer_norm_epsilon")),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )
    width = config.integer("expand") * config.integer("hidden_size")
    if mixer.values_size != width:
        raise CheckpointError(
            f"config.json: {mixer.num_heads} heads of {mixer.head_dim} are not a Mamba layer's width of {width}"
        )
    return mixer


FAMILY = Family(
    architectures=("Mamba2ForCausalLM",),
    model_type="granitemoehybrid",  # onnxruntime-genai has no name for it, and this one's graph has the same states
    spec=spec,
    weights={**BACKBONE_WEIGHTS, **mamba2_weights("layers.{i}.mixer")},
    defaults={**BACKBONE_DEFAULTS, "n_groups": 8, "state_size": 128},
    prefixes=BACKBONE_PREFIXES,
)
