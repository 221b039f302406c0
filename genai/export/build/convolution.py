"""Causal convolutions with a filter per channel, whose last inputs are a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir

from genai.export.architecture import ShortConvolutionSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.tensors import from_array
from genai.graph.operators import CAUSAL_CONV_WITH_STATE

__all__ = ["causal_convolution", "short_convolution"]


def short_convolution(
    g: GraphBuilder, x: ir.Value, spec: ShortConvolutionSpec, past: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Return output(output_gate * convolution(input_gate * value)) and the convolution's present state.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The convolution.
        past: [batch_size, num_channels, width - 1].
    """
    packed = linear(g, x, "input_gate", "output_gate", "value", name="projections")
    sizes = g.integers(*[spec.num_channels] * 3)
    input_gate, output_gate, value = g.ops("Split", [packed, sizes], 3, axis=-1)
    mixed, present = causal_convolution(g, g.op("Mul", [input_gate, value]), past)
    return linear(g, g.op("Mul", [output_gate, mixed]), "output"), present


def causal_convolution(
    g: GraphBuilder,
    x: ir.Value,
    past: ir.Value,
    *,
    filters: Sequence[str] = ("filter",),
    activation: Literal["none", "silu"] = "none",
) -> tuple[ir.Value, ir.Value]:
    """Convolve each channel with its filter over past and new inputs.

    The state's axes are those of onnxruntime-genai's graphs.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, channels].
        past: [batch_size, channels, width - 1], the inputs before x; zeros before the first token.
        filters: The modules of this scope whose filters are those of the channels, one after the other.
        activation: Applied to the output.

    Returns:
        The output, shaped as x, and the last width - 1 inputs, shaped as past.
    """
    dtype = g.precision.float_type
    weights = [g.parameter(f"{name}.weight")[:] for name in filters]
    biases = [g.parameter(f"{name}.bias")[:] for name in filters if g.has_parameter(f"{name}.bias")]
    weight, bias = g.initializer("filter.weight", from_array(np.concatenate(weights), dtype)), None
    if biases:
        bias = g.initializer("filter.bias", from_array(np.concatenate(biases), dtype))
    channels_first = g.op("Transpose", [x], perm=[0, 2, 1])
    output, present = g.ops(
        CAUSAL_CONV_WITH_STATE.op_type,
        CAUSAL_CONV_WITH_STATE.arrange(input=channels_first, weight=weight, bias=bias, past_state=past),
        2,
        domain=CAUSAL_CONV_WITH_STATE.domain,
        ndim=1,
        activation=activation,
    )
    return g.op("Transpose", [output], perm=[0, 2, 1]), present
