"""RWKV-4's blocks of plain operators, com.microsoft's LinearAttention, and an RNN that finds the largest exponents."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.architecture import ChannelMixSpec, TimeMixSpec
from genai.export.build.activations import activate
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.norms import normalize
from genai.export.build.tensors import from_array
from genai.graph.operators import LINEAR_ATTENTION

__all__ = ["channel_mix", "time_mix"]

FLOAT = ir.DataType.FLOAT
NO_EXPONENT = -1e30  # of sums that hold nothing yet: all others are larger
LAST = np.iinfo(np.int64).max


def time_mix(
    g: GraphBuilder, x: ir.Value, spec: TimeMixSpec, past_conv: ir.Value, past_recurrent: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Normalize, mix with the token before, average the values of all tokens so far, and project back.

    The averages are computed in float32 in every precision.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The block.
        past_conv: The normalized input of the token before, [batch_size, hidden_size, 1].
        past_recurrent: float32 [batch_size, num_channels, 1, 3].

    Returns:
        The output, shaped as x, and the two present states.
    """
    x = normalize(g, x, "norm", spec.norm, spec.num_inputs)
    before, present_conv = _token_before(g, x, past_conv)
    key, value, receptance = (linear(g, _mixed(g, x, before, name), name) for name in ("k", "v", "r"))
    averages, present_recurrent = _averages(
        g, g.as_float32(key), g.as_float32(value), past_recurrent, spec.num_channels
    )
    gated = g.op("Mul", [g.op("Sigmoid", [receptance]), g.from_float32(averages)])
    return linear(g, gated, "output"), present_conv, present_recurrent


def channel_mix(
    g: GraphBuilder, x: ir.Value, spec: ChannelMixSpec, past_conv: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Normalize, mix with the token before, and transform each token by itself.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The block.
        past_conv: The normalized input of the token before, [batch_size, hidden_size, 1].

    Returns:
        The output, shaped as x, and the present state.
    """
    x = normalize(g, x, "norm", spec.norm, spec.num_inputs)
    before, present_conv = _token_before(g, x, past_conv)
    up = activate(g, linear(g, _mixed(g, x, before, "up"), "up"), "relu2")
    receptance = g.op("Sigmoid", [linear(g, _mixed(g, x, before, "r"), "r")])
    return g.op("Mul", [receptance, linear(g, up, "down")]), present_conv


def _token_before(g: GraphBuilder, x: ir.Value, past: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The inputs of the tokens before, shaped as x, and the last input as the state."""
    joined = g.op("Concat", [g.op("Transpose", [past], perm=[0, 2, 1]), x], axis=1)
    return _all_but_last(g, joined), g.op("Transpose", [_last(g, x)], perm=[0, 2, 1])


def _mixed(g: GraphBuilder, x: ir.Value, before: ir.Value, module: str) -> ir.Value:
    """A module's input: its share of the token, and the rest of the one before."""
    name = f"{module}_share"
    share = g.initializer(name, from_array(g.parameter(name)[:], g.precision.float_type))
    return g.op("Add", [before, g.op("Mul", [g.op("Sub", [x, before]), share])])


def _averages(
    g: GraphBuilder, key: ir.Value, value: ir.Value, past: ir.Value, num_channels: int
) -> tuple[ir.Value, ir.Value]:
    """Average values by exponentials of keys, float32 [batch_size, sequence_length, num_channels]; return the state too.

    The sums of weighed values and of weights are divided by the exponential of the largest exponent so far, so that
    neither overflows. A channel is a head of linear attention, with a key of one dimension and two values.
    """
    sums, exponent = g.ops("Split", [past, g.integers(2, 1)], 2, axis=-1)
    exponent = _where_empty(g, sums, exponent)
    rates = np.exp(g.parameter("decay_rates")[:].astype(np.float32))
    decay = g.initializer("decays", from_array(rates, FLOAT))
    largest, before = _largest_exponents(g, key, decay, exponent)
    ones = g.op("Expand", [g.float32(1.0), g.op("Shape", [value])])
    pairs = g.op("Concat", [g.op("Unsqueeze", [each, g.integers(-1)]) for each in (value, ones)], axis=-1)
    after, present_sums = g.ops(
        LINEAR_ATTENTION.op_type,
        LINEAR_ATTENTION.arrange(
            query=ones,
            key=g.op("Exp", [g.op("Sub", [key, largest])]),
            value=g.op("Reshape", [pairs, g.integers(0, 0, -1)]),
            past_state=sums,
            decay=g.op("Sub", [before, g.op("Add", [largest, decay])]),
        ),
        2,
        domain=LINEAR_ATTENTION.domain,
        update_rule="gated",
        q_num_heads=num_channels,
        kv_num_heads=num_channels,
        scale=1.0,
    )
    first = g.op("Reshape", [sums, g.integers(0, 1, -1)])
    averages = _with_bonus(g, key, value, _all_but_last(g, g.op("Concat", [first, after], axis=1)), before)
    last = g.op("Reshape", [_last(g, largest), g.integers(0, -1, 1, 1)])
    return averages, g.op("Concat", [present_sums, last], axis=-1)


def _where_empty(g: GraphBuilder, sums: ir.Value, exponent: ir.Value) -> ir.Value:
    """The exponent of the state, [batch_size, 1, num_channels]; of a state of zeros, none that counts."""
    _, weights = g.ops("Split", [sums, g.integers(1, 1)], 2, axis=-1)
    is_empty = g.op("Equal", [weights, g.float32(0.0)])
    return g.op(
        "Reshape", [g.op("Where", [is_empty, g.float32(NO_EXPONENT), exponent]), g.integers(0, 1, -1)]
    )


def _largest_exponents(
    g: GraphBuilder, key: ir.Value, decay: ir.Value, exponent: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The largest exponent up to each token, m_t = max(m_{t-1} - w, k_t), and up to the one before it; shaped as key.

    By how much it exceeds the token's own is a recurrent network of one unit per channel without weights to learn:
    m_t - k_t = relu((m_{t-1} - k_{t-1}) + (k_{t-1} - w - k_t)).
    """
    keys_before = _all_but_last(g, g.op("Concat", [exponent, key], axis=1))
    steps = g.op("Sub", [keys_before, g.op("Add", [key, decay])])
    steps = g.op("Transpose", [steps], perm=[1, 0, 2])
    unit = g.constant(np.ones((1, 1, 1), np.float32))
    excess = g.op(
        "RNN",
        [g.op("Reshape", [steps, g.integers(0, -1, 1)]), unit, unit],
        hidden_size=1,
        activations=["Relu"],
    )
    excess = g.op("Transpose", [g.op("Reshape", [excess, g.op("Shape", [steps])])], perm=[1, 0, 2])
    largest = g.op("Add", [key, excess])
    return largest, _all_but_last(g, g.op("Concat", [exponent, largest], axis=1))


def _with_bonus(
    g: GraphBuilder, key: ir.Value, value: ir.Value, sums: ir.Value, exponent: ir.Value
) -> ir.Value:
    """The averages: sums over the tokens before, divided by the exponential of an exponent, and the token's own part."""
    pairs = g.op("Reshape", [sums, g.integers(0, 0, -1, 2)])
    values, weights = (
        g.op("Squeeze", [part, g.integers(-1)])
        for part in g.ops("Split", [pairs, g.integers(1, 1)], 2, axis=-1)
    )
    bonus = g.initializer("bonus", from_array(g.parameter("bonus")[:], FLOAT))
    own = g.op("Add", [key, bonus])
    largest = g.op("Max", [exponent, own])
    earlier, own = (g.op("Exp", [g.op("Sub", [each, largest])]) for each in (exponent, own))
    total = g.op("Add", [g.op("Mul", [earlier, values]), g.op("Mul", [own, value])])
    return g.op("Div", [total, g.op("Add", [g.op("Mul", [earlier, weights]), own])])


def _all_but_last(g: GraphBuilder, x: ir.Value) -> ir.Value:
    return g.op("Slice", [x, g.integers(0), g.integers(-1), g.integers(1)])


def _last(g: GraphBuilder, x: ir.Value) -> ir.Value:
    return g.op("Slice", [x, g.integers(-1), g.integers(LAST), g.integers(1)])
