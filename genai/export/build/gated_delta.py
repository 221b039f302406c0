"""Linear attention by the gated delta rule, as com.microsoft's LinearAttention computes it."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from genai.export.architecture import GatedDeltaSpec
from genai.export.build.activations import activate
from genai.export.build.convolution import causal_convolution
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.norms import normalize
from genai.export.build.tensors import from_array
from genai.graph.operators import LINEAR_ATTENTION

__all__ = ["gated_delta"]

UNIT_LENGTH_EPS = 1e-6  # added to the squared length of queries and keys
FLOAT = ir.DataType.FLOAT


def gated_delta(
    g: GraphBuilder, x: ir.Value, spec: GatedDeltaSpec, past_conv: ir.Value, past_recurrent: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Project, convolve, update the heads' matrices token by token, read them, and project back.

    The recurrence is computed in float32 in every precision: it multiplies what it has seen by thousands of decays.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The attention.
        past_conv: [batch_size, num_channels, conv_width - 1].
        past_recurrent: float32 [batch_size, num_value_heads, key_dim, value_dim].

    Returns:
        The output, shaped as x, and the two present states.
    """
    mixed, gate = _mixed_and_gate(g, x, spec)
    mixed, present_conv = causal_convolution(
        g, mixed, past_conv, filters=("q_filter", "k_filter", "v_filter"), activation="silu"
    )
    queries_keys, value = g.ops(
        "Split", [g.as_float32(mixed), g.integers(2 * spec.keys_size, spec.values_size)], 2, axis=-1
    )
    query, key = g.ops(
        "Split",
        [_of_unit_length(g, queries_keys, spec.key_dim), g.integers(spec.keys_size, spec.keys_size)],
        2,
        axis=-1,
    )
    decay, beta = _rates(g, x, spec)
    heads, present_recurrent = g.ops(
        LINEAR_ATTENTION.op_type,
        LINEAR_ATTENTION.arrange(
            query=query, key=key, value=value, past_state=past_recurrent, decay=decay, beta=beta
        ),
        2,
        domain=LINEAR_ATTENTION.domain,
        update_rule="gated_delta",
        q_num_heads=spec.num_key_heads,
        kv_num_heads=spec.num_value_heads,
        scale=1 / math.sqrt(spec.key_dim),
    )
    heads = g.op("Reshape", [g.from_float32(heads), g.integers(0, 0, -1, spec.value_dim)])
    heads = normalize(g, heads, "norm", spec.norm, spec.value_dim)
    heads = g.op("Reshape", [heads, g.integers(0, 0, -1)])
    gate = g.op("Sigmoid", [gate]) if spec.gate_activation == "sigmoid" else activate(g, gate, "silu")
    return linear(g, g.op("Mul", [heads, gate]), "output"), present_conv, present_recurrent


def _mixed_and_gate(g: GraphBuilder, x: ir.Value, spec: GatedDeltaSpec) -> tuple[ir.Value, ir.Value]:
    """What the convolution reads, [batch_size, sequence_length, num_channels], and the gates of all value heads."""
    if spec.gate_rank is None:
        packed = linear(g, x, "q", "k", "v", "gate", name="qkvz")
        mixed, gate = g.ops("Split", [packed, g.integers(spec.num_channels, spec.values_size)], 2, axis=-1)
        return mixed, gate
    packed = linear(g, x, "q", "k", "v", "gate_down", name="qkvz")
    mixed, narrow = g.ops("Split", [packed, g.integers(spec.num_channels, spec.gate_rank)], 2, axis=-1)
    return mixed, linear(g, narrow, "gate")


def _rates(g: GraphBuilder, x: ir.Value, spec: GatedDeltaSpec) -> tuple[ir.Value, ir.Value]:
    """The logarithms of the decays and the update rates, float32 [batch_size, sequence_length, num_decays or heads].

    Their projections are small and decide what is forgotten: they are not quantized.
    """
    raw, beta = _raw_rates(g, x, spec)
    bias = g.initializer("decay_bias", from_array(g.parameter("decay_bias")[:], FLOAT))
    biased = g.op("Add", [raw, bias])
    rates = np.repeat(np.exp(g.parameter("decay_rates")[:].astype(np.float32)), spec.decays_per_head)
    if spec.decay_floor is None:
        factors = g.initializer("decay_factors", from_array(-rates, FLOAT))
        decay = g.op("Mul", [g.op("Softplus", [biased]), factors])
    else:
        factors = g.initializer("decay_factors", from_array(rates, FLOAT))
        share = g.op("Sigmoid", [g.op("Mul", [biased, factors])])
        decay = g.op("Mul", [share, g.float32(spec.decay_floor)])
    beta = g.op("Sigmoid", [beta])
    return decay, beta if spec.beta_scale == 1.0 else g.op("Mul", [beta, g.float32(spec.beta_scale)])


def _raw_rates(g: GraphBuilder, x: ir.Value, spec: GatedDeltaSpec) -> tuple[ir.Value, ir.Value]:
    """The projections that the decays and update rates are made of, in float32."""
    if spec.decay_rank is None:
        packed = g.as_float32(linear(g, x, "decay", "beta", name="rates"))
        raw, beta = g.ops("Split", [packed, g.integers(spec.num_decays, spec.num_value_heads)], 2, axis=-1)
        return raw, beta
    packed = linear(g, x, "decay_down", "beta", name="rates")
    narrow, beta = g.ops("Split", [packed, g.integers(spec.decay_rank, spec.num_value_heads)], 2, axis=-1)
    return g.as_float32(linear(g, narrow, "decay")), g.as_float32(beta)


def _of_unit_length(g: GraphBuilder, x: ir.Value, head_dim: int) -> ir.Value:
    """Divide each head by the square root of its squared length + eps: an RMS norm with weights 1 / sqrt(head_dim)."""
    weights = np.full(head_dim, head_dim**-0.5, np.float32)
    heads = g.op("Reshape", [x, g.integers(0, 0, -1, head_dim)])
    operands = [heads, g.initializer("unit_length.weight", from_array(weights, FLOAT))]
    scaled = g.op("RMSNormalization", operands, axis=-1, epsilon=UNIT_LENGTH_EPS / head_dim)
    return g.op("Reshape", [scaled, g.integers(0, 0, -1)])
