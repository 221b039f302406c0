"""What lets tokens see earlier ones: the one place where a kind of mixer is joined to its operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from genai.config import ProviderForm
from genai.export.architecture import (
    AttentionSpec,
    ChannelMixSpec,
    GatedDeltaSpec,
    LatentAttentionSpec,
    LightningAttentionSpec,
    Mamba2Spec,
    MambaSpec,
    Mixer,
    RgLruSpec,
    ShortConvolutionSpec,
    TimeMixSpec,
)
from genai.export.build.attention import attention, attention_needs_position_ids, check_attention
from genai.export.build.convolution import short_convolution
from genai.export.build.gated_delta import gated_delta
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.latent_attention import check_latent_attention, latent_attention
from genai.export.build.lightning_attention import lightning_attention
from genai.export.build.mamba import mamba
from genai.export.build.mamba2 import mamba2
from genai.export.build.positions import Positions
from genai.export.build.rg_lru import rg_lru
from genai.export.build.rwkv import channel_mix, time_mix
from genai.graph.names import CONV_STATE, KEY, RECURRENT_STATE, VALUE

__all__ = ["Mixed", "check_mixer", "mix", "needs_position_ids"]


@dataclass(frozen=True, slots=True)
class Mixed:
    """What a mixer gives.

    Args:
        output: [batch_size, sequence_length, hidden_size].
        present: Its states after the new tokens, by their specs' names.
    """

    output: ir.Value
    present: Mapping[str, ir.Value]


def mix(
    g: GraphBuilder, x: ir.Value, spec: Mixer, past: Mapping[str, ir.Value], positions: Positions
) -> Mixed:
    """Let tokens see earlier ones: [batch_size, sequence_length, hidden_size] both ways."""
    with g.scope(spec.scope):
        match spec:
            case AttentionSpec():
                return Mixed(*attention(g, x, spec, past[KEY], past[VALUE], positions))
            case LatentAttentionSpec():
                output, key, value = latent_attention(g, x, spec, past[KEY], past[VALUE], positions)
                return Mixed(output, {KEY: key, VALUE: value})
            case ShortConvolutionSpec():
                output, conv = short_convolution(g, x, spec, past[CONV_STATE])
                return Mixed(output, {CONV_STATE: conv})
            case GatedDeltaSpec():
                return _recurrent(gated_delta(g, x, spec, *_states(past)))
            case LightningAttentionSpec():
                output, recurrent = lightning_attention(g, x, spec, past[RECURRENT_STATE])
                return Mixed(output, {RECURRENT_STATE: recurrent})
            case MambaSpec():
                return _recurrent(mamba(g, x, spec, *_states(past)))
            case Mamba2Spec():
                return _recurrent(mamba2(g, x, spec, *_states(past)))
            case RgLruSpec():
                return _recurrent(rg_lru(g, x, spec, *_states(past), positions))
            case TimeMixSpec():
                return _recurrent(time_mix(g, x, spec, *_states(past)))
            case ChannelMixSpec():
                output, conv = channel_mix(g, x, spec, past[CONV_STATE])
                return Mixed(output, {CONV_STATE: conv})


def _states(past: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """A convolution's last inputs, and what has been seen before them."""
    return past[CONV_STATE], past[RECURRENT_STATE]


def _recurrent(made: tuple[ir.Value, ir.Value, ir.Value]) -> Mixed:
    """What a mixer with both of these states gives: its output, and the two."""
    output, conv, recurrent = made
    return Mixed(output, {CONV_STATE: conv, RECURRENT_STATE: recurrent})


def check_mixer(spec: Mixer) -> None:
    """See that there is a kernel for a mixer.

    Raises:
        UnsupportedModelError: There is none.
    """
    if isinstance(spec, AttentionSpec):
        check_attention(spec)
    elif isinstance(spec, LatentAttentionSpec):
        check_latent_attention(spec)


def needs_position_ids(spec: Mixer, form: ProviderForm) -> bool:
    """Whether a mixer needs the positions of the new tokens as a value."""
    if isinstance(spec, AttentionSpec):
        return attention_needs_position_ids(spec, form)
    if isinstance(spec, LatentAttentionSpec):
        return spec.rope is not None or spec.query_scaling is not None
    return isinstance(spec, RgLruSpec)
