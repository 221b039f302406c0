"""Mamba-2's state space, as com.microsoft's LinearAttention computes it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.architecture import Mamba2Spec, NormSpec
from genai.export.build.convolution import causal_convolution
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.state_space import decay_factors, gated, passed_by, recurrence, time_steps
from genai.export.build.tensors import from_array

__all__ = ["mamba2"]

FLOAT = ir.DataType.FLOAT


def mamba2(
    g: GraphBuilder, x: ir.Value, spec: Mamba2Spec, past_conv: ir.Value, past_recurrent: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Project, convolve, update the heads' matrices token by token, read them, gate, and project back.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The state space.
        past_conv: [batch_size, num_channels, conv_width - 1].
        past_recurrent: float32 [batch_size, num_heads, state_size, head_dim].

    Returns:
        The output, shaped as x, and the two present states.
    """
    packed = linear(g, x, "gate", "x", "b", "c", name="projections")
    packed = _scaled(g, packed, spec)
    gate, mixed = g.ops("Split", [packed, g.integers(spec.values_size, spec.num_channels)], 2, axis=-1)
    mixed, present_conv = causal_convolution(g, mixed, past_conv, activation="silu")
    sizes = g.integers(spec.values_size, spec.keys_size, spec.keys_size)
    inputs, keys, queries = g.ops("Split", [g.as_float32(mixed), sizes], 3, axis=-1)
    inputs = g.op("Reshape", [inputs, g.integers(0, 0, -1, spec.head_dim)])
    steps, decays = _steps_and_decays(g, x, spec)
    learned = g.op("Mul", [inputs, g.op("Unsqueeze", [steps, g.integers(-1)])])
    heads, present_recurrent = recurrence(
        g,
        queries=queries,
        keys=keys,
        values=g.op("Reshape", [learned, g.integers(0, 0, -1)]),
        decays=decays,
        past=past_recurrent,
        num_groups=spec.num_groups,
        num_heads=spec.num_heads,
    )
    passed = g.op("Reshape", [passed_by(g, inputs, -1, 1), g.integers(0, 0, -1)])
    return (
        linear(g, _gated(g, g.op("Add", [heads, passed]), gate, spec), "output"),
        present_conv,
        present_recurrent,
    )


def _scaled(g: GraphBuilder, packed: ir.Value, spec: Mamba2Spec) -> ir.Value:
    """Multiply gate, x, B and C by their factors."""
    factors = spec.factors[:4]
    if all(factor == 1.0 for factor in factors):
        return packed
    sizes = (spec.values_size, spec.values_size, spec.keys_size, spec.keys_size)
    vector = from_array(np.repeat(np.asarray(factors, np.float32), sizes), g.precision.float_type)
    return g.op("Mul", [packed, g.initializer("factors", vector)])


def _steps_and_decays(g: GraphBuilder, x: ir.Value, spec: Mamba2Spec) -> tuple[ir.Value, ir.Value]:
    """The steps, and the logarithms of the decays, float32 [batch_size, sequence_length, num_heads].

    Their projection is small and decides what is forgotten: it is not quantized.
    """
    raw, factor = g.as_float32(linear(g, x, "step")), spec.factors[4]
    raw = raw if factor == 1.0 else g.op("Mul", [raw, g.float32(factor)])
    steps = time_steps(g, raw)
    if spec.least_step:
        steps = g.op("Max", [steps, g.float32(spec.least_step)])
    return steps, g.op("Mul", [steps, decay_factors(g)])


def _gated(g: GraphBuilder, heads: ir.Value, gate: ir.Value, spec: Mamba2Spec) -> ir.Value:
    """Gate and normalize the heads' outputs, float32 [batch_size, sequence_length, values_size]."""
    if spec.norm is None:
        return g.from_float32(gated(g, heads, gate))
    if spec.norms_first:
        return g.from_float32(gated(g, _normalized(g, heads, spec, spec.norm), gate))
    return g.from_float32(_normalized(g, gated(g, heads, gate), spec, spec.norm))


def _normalized(g: GraphBuilder, x: ir.Value, spec: Mamba2Spec, norm: NormSpec) -> ir.Value:
    """Normalize each group by itself, and multiply by one weight for all."""
    ones = np.ones(spec.values_size // spec.num_groups, np.float32)
    groups = g.op("Reshape", [x, g.integers(0, 0, -1, ones.size)])
    operands = [groups, g.initializer("norm.ones", from_array(ones, FLOAT))]
    normalized = g.op("RMSNormalization", operands, axis=-1, epsilon=norm.eps)
    normalized = g.op("Reshape", [normalized, g.integers(0, 0, -1)])
    weight = g.initializer("norm.weight", from_array(g.parameter("norm.weight")[:], FLOAT))
    return g.op("Mul", [normalized, weight])
