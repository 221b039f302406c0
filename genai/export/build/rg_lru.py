"""Real-gated linear recurrent units, as com.microsoft's LinearAttention computes them: a head of one key for each channel."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.architecture import RgLruSpec
from genai.export.build.activations import activate
from genai.export.build.convolution import causal_convolution
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.positions import Positions
from genai.export.build.tensors import from_array
from genai.graph.operators import LINEAR_ATTENTION

__all__ = ["rg_lru"]

FLOAT = ir.DataType.FLOAT
DECAY_FACTOR = -8.0


def rg_lru(
    g: GraphBuilder,
    x: ir.Value,
    spec: RgLruSpec,
    past_conv: ir.Value,
    past_recurrent: ir.Value,
    positions: Positions,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Project, convolve, update the channels token by token, gate, and project back.

    The recurrence is computed in float32 in every precision: it multiplies what it has seen by thousands of decays. A
    channel is a head with a key and a value of one dimension each; its query is the output's gate.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The units.
        past_conv: [batch_size, num_channels, conv_width - 1].
        past_recurrent: float32 [batch_size, num_channels, 1, 1].
        positions: What all layers share.

    Returns:
        The output, shaped as x, and the two present states.
    """
    packed = linear(g, x, "x", "gate", name="inputs")
    mixed, gate = g.ops("Split", [packed, g.integers(*[spec.num_channels] * 2)], 2, axis=-1)
    mixed, present_conv = causal_convolution(g, mixed, past_conv)
    mixed = g.as_float32(mixed)
    input_gate, decay = _gates(g, mixed, spec)
    channels, present_recurrent = g.ops(
        LINEAR_ATTENTION.op_type,
        LINEAR_ATTENTION.arrange(
            query=g.as_float32(activate(g, gate, spec.activation)),
            key=_input_factors(g, decay, positions),
            value=g.op("Mul", [mixed, input_gate]),
            past_state=past_recurrent,
            decay=decay,
        ),
        2,
        domain=LINEAR_ATTENTION.domain,
        update_rule="gated",
        q_num_heads=spec.num_channels,
        kv_num_heads=spec.num_channels,
        scale=1.0,
    )
    return linear(g, g.from_float32(channels), "output"), present_conv, present_recurrent


def _gates(g: GraphBuilder, x: ir.Value, spec: RgLruSpec) -> tuple[ir.Value, ir.Value]:
    """The gates of the inputs and the logarithms of the decays, float32 [batch_size, sequence_length, num_channels]."""
    names = ("input_gates", "recurrent_gates")
    weights = np.concatenate([g.parameter(name)[:] for name in names], axis=-1)
    biases = np.concatenate([g.parameter(f"{name}_bias")[:] for name in names], axis=-1)
    by_block = g.op("Reshape", [x, g.integers(0, 0, spec.num_blocks, spec.block_size)])
    by_block = g.op("Transpose", [by_block], perm=[0, 2, 1, 3])
    product = g.op("MatMul", [by_block, g.initializer("gates", from_array(weights, FLOAT))])
    biased = g.op("Add", [product, g.initializer("gates_bias", from_array(biases[:, None], FLOAT))])
    gates = g.op("Transpose", [g.op("Sigmoid", [biased])], perm=[0, 2, 1, 3])
    input_gate, recurrent_gate = (
        g.op("Reshape", [part, g.integers(0, 0, -1)])
        for part in g.ops("Split", [gates, g.integers(*[spec.block_size] * 2)], 2, axis=-1)
    )
    rates = DECAY_FACTOR * np.logaddexp(0, g.parameter("decay_rates")[:].astype(np.float32))
    factors = g.initializer("decay_factors", from_array(rates, FLOAT))
    return input_gate, g.op("Mul", [recurrent_gate, factors])


def _input_factors(g: GraphBuilder, decay: ir.Value, positions: Positions) -> ir.Value:
    """What keeps the variance of a channel as it is: the root of 1 - exp(2 g), and 1 where nothing was before."""
    kept = g.op("Exp", [g.op("Mul", [decay, g.float32(2.0)])])
    root = g.op("Sqrt", [g.op("Sub", [g.float32(1.0), kept])])
    is_first = g.op("Equal", [positions.position_ids, g.constant(np.asarray(0, np.int64))])
    return g.op("Where", [g.op("Unsqueeze", [is_first, g.integers(-1)]), g.float32(1.0), root])
