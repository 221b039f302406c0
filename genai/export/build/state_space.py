"""What the state spaces of Mamba share: their steps and decays, the recurrence, what passes it by, and the gate.

All of it is computed in float32 in every precision: the recurrence multiplies what it has seen by thousands of decays.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.build.activations import activate
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.tensors import from_array
from genai.graph.operators import LINEAR_ATTENTION

__all__ = ["decay_factors", "gated", "passed_by", "recurrence", "time_steps"]

FLOAT = ir.DataType.FLOAT


def time_steps(g: GraphBuilder, raw: ir.Value) -> ir.Value:
    """Return softplus(raw + step_bias), float32: [batch_size, sequence_length, steps] both ways."""
    bias = g.initializer("step_bias", from_array(g.parameter("step_bias")[:], FLOAT))
    return g.op("Softplus", [g.op("Add", [raw, bias])])


def decay_factors(g: GraphBuilder) -> ir.Value:
    """Add what makes the logarithms of decays of steps, -exp(decay_rates), float32 and shaped as these."""
    rates = -np.exp(g.parameter("decay_rates")[:].astype(np.float32))
    return g.initializer("decay_factors", from_array(rates, FLOAT))


def recurrence(
    g: GraphBuilder,
    *,
    queries: ir.Value,
    keys: ir.Value,
    values: ir.Value,
    decays: ir.Value,
    past: ir.Value,
    num_groups: int,
    num_heads: int,
) -> tuple[ir.Value, ir.Value]:
    """Update the heads' states token by token and read them, as com.microsoft's LinearAttention does.

    Args:
        g: The graph.
        queries: float32 [batch_size, sequence_length, num_groups * key_dim].
        keys: The same.
        values: float32 [batch_size, sequence_length, num_heads * value_dim].
        decays: The logarithms of the decays, float32 [batch_size, sequence_length, num_heads], or one for each element of
            a key: [batch_size, sequence_length, num_heads * key_dim].
        past: float32 [batch_size, num_heads, key_dim, value_dim].
        num_groups: Of heads that share queries and keys.
        num_heads: Heads of the values.

    Returns:
        What is read, shaped as the values, and the present state, shaped as the past.
    """
    read, present = g.ops(
        LINEAR_ATTENTION.op_type,
        LINEAR_ATTENTION.arrange(query=queries, key=keys, value=values, past_state=past, decay=decays),
        2,
        domain=LINEAR_ATTENTION.domain,
        update_rule="gated",
        q_num_heads=num_groups,
        kv_num_heads=num_heads,
        scale=1.0,
    )
    return read, present


def passed_by(g: GraphBuilder, inputs: ir.Value, *shape: int) -> ir.Value:
    """Return inputs times `skip`, which is brought into a shape that broadcasts."""
    skip = g.initializer("skip", from_array(g.parameter("skip")[:].reshape(shape), FLOAT))
    return g.op("Mul", [inputs, skip])


def gated(g: GraphBuilder, x: ir.Value, gate: ir.Value) -> ir.Value:
    """Return x * silu(gate), float32; the gate is of the graph's float type."""
    return g.op("Mul", [x, activate(g, g.as_float32(gate), "silu")])
