"""Mamba-2's state space, as com.microsoft's LinearAttention computes it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.architecture import Mamba2Spec, NormSpec
from genai.export.build.activations import activate
from genai.export.build.convolution import causal_convolution
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.tensors import from_array
from genai.graph.operators import LINEAR_ATTENTION

__all__ = ["mamba2"]

FLOAT = ir.DataType.FLOAT


def mamba2(
    g: GraphBuilder, x: ir.Value, spec: Mamba2Spec, past_conv: ir.Value, past_recurrent: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Project, convolve, update the heads' matrices token by token, read them, gate, and project back.

    The recurrence is computed in float32 in every precision: it multiplies what it has seen by thousands of decays.

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
    heads, present_recurrent = g.ops(
        LINEAR_ATTENTION.op_type,
        LINEAR_ATTENTION.arrange(
            query=queries,
            key=keys,
            value=g.op("Reshape", [learned, g.integers(0, 0, -1)]),
            past_state=past_recurrent,
            decay=decays,
        ),
        2,
        domain=LINEAR_ATTENTION.domain,
        update_rule="gated",
        q_num_heads=spec.num_groups,
        kv_num_heads=spec.num_heads,
        scale=1.0,
    )
    skip = g.initializer("skip", from_array(g.parameter("skip")[:].reshape(-1, 1), FLOAT))
    passed = g.op("Reshape", [g.op("Mul", [inputs, skip]), g.integers(0, 0, -1)])
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
    bias = g.initializer("step_bias", from_array(g.parameter("step_bias")[:], FLOAT))
    raw, factor = g.as_float32(linear(g, x, "step")), spec.factors[4]
    raw = raw if factor == 1.0 else g.op("Mul", [raw, g.float32(factor)])
    steps = g.op("Softplus", [g.op("Add", [raw, bias])])
    rates = -np.exp(g.parameter("decay_rates")[:].astype(np.float32))
    return steps, g.op("Mul", [steps, g.initializer("decay_factors", from_array(rates, FLOAT))])


def _gated(g: GraphBuilder, heads: ir.Value, gate: ir.Value, spec: Mamba2Spec) -> ir.Value:
    """Gate and normalize the heads' outputs, float32 [batch_size, sequence_length, values_size]."""
    gate = activate(g, g.as_float32(gate), "silu")
    if spec.norm is None:
        gated = g.op("Mul", [heads, gate])
    elif spec.norms_first:
        gated = g.op("Mul", [_normalized(g, heads, spec, spec.norm), gate])
    else:
        gated = _normalized(g, g.op("Mul", [heads, gate]), spec, spec.norm)
    return g.from_float32(gated)


def _normalized(g: GraphBuilder, x: ir.Value, spec: Mamba2Spec, norm: NormSpec) -> ir.Value:
    """Normalize each group by itself, and multiply by one weight for all."""
    ones = np.ones(spec.values_size // spec.num_groups, np.float32)
    groups = g.op("Reshape", [x, g.integers(0, 0, -1, ones.size)])
    operands = [groups, g.initializer("norm.ones", from_array(ones, FLOAT))]
    normalized = g.op("RMSNormalization", operands, axis=-1, epsilon=norm.eps)
    normalized = g.op("Reshape", [normalized, g.integers(0, 0, -1)])
    weight = g.initializer("norm.weight", from_array(g.parameter("norm.weight")[:], FLOAT))
    return g.op("Mul", [normalized, weight])
