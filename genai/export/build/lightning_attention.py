"""Linear attention with a fixed decay per head, as com.microsoft's LinearAttention computes it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.architecture import LightningAttentionSpec
from genai.export.build.activations import activate
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.tensors import from_array
from genai.graph.operators import LINEAR_ATTENTION

__all__ = ["lightning_attention"]

FLOAT = ir.DataType.FLOAT


def lightning_attention(
    g: GraphBuilder, x: ir.Value, spec: LightningAttentionSpec, past_recurrent: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Project, update the heads' matrices token by token, read them, normalize, gate, and project back.

    The recurrence is computed in float32 in every precision, and so is the norm: what it reads is not bounded.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The attention.
        past_recurrent: float32 [batch_size, num_heads, head_dim, head_dim].

    Returns:
        The output, shaped as x, and the present state.
    """
    packed = linear(g, x, "q", "k", "v", "gate", name="qkvz")
    packed, gate = g.ops("Split", [packed, g.integers(3 * spec.size, spec.size)], 2, axis=-1)
    packed = g.as_float32(activate(g, packed, spec.activation))
    query, key, value = g.ops("Split", [packed, g.integers(*[spec.size] * 3)], 3, axis=-1)
    heads, present_recurrent = g.ops(
        LINEAR_ATTENTION.op_type,
        LINEAR_ATTENTION.arrange(
            query=query, key=key, value=value, past_state=past_recurrent, decay=_decays(g, x, spec)
        ),
        2,
        domain=LINEAR_ATTENTION.domain,
        update_rule="gated",
        q_num_heads=spec.num_heads,
        kv_num_heads=spec.num_heads,
        scale=1.0,
    )
    weight = g.initializer("norm.weight", from_array(g.parameter("norm.weight")[:], FLOAT))
    normalized = g.op("RMSNormalization", [heads, weight], axis=-1, epsilon=spec.norm.eps)
    gated = g.op("Mul", [g.from_float32(normalized), g.op("Sigmoid", [gate])])
    return linear(g, gated, "output"), present_recurrent


def _decays(g: GraphBuilder, x: ir.Value, spec: LightningAttentionSpec) -> ir.Value:
    """The logarithms of the decays of each token, float32 [batch_size, sequence_length, num_heads]."""
    slopes = g.initializer("decays", from_array(-np.asarray(spec.slopes, np.float32), FLOAT))
    shape = g.op("Concat", [g.op("Shape", [x], start=0, end=2), g.integers(spec.num_heads)], axis=0)
    return g.op("Expand", [slopes, shape])
