"""Attention as com.microsoft's GroupQueryAttention, over key/value buffers that past and present share."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from genai.errors import UnsupportedModelError
from genai.export.builder import MICROSOFT, GraphBuilder
from genai.export.ops.linear import linear
from genai.export.ops.norms import normalize
from genai.export.ops.positions import Positions
from genai.export.rope import RopeSpec
from genai.export.spec import AttentionSpec, NormSpec, QueryScaling
from genai.export.tensors import from_array

__all__ = ["attention", "attention_needs_position_ids", "check_attention", "rotate"]

HEAD_DIM_MULTIPLE = 8
ROTARY_MULTIPLE = 16


def check_attention(spec: AttentionSpec) -> None:
    """See that there is a kernel for an attention.

    Raises:
        UnsupportedModelError: There is none.
    """
    if spec.head_dim % HEAD_DIM_MULTIPLE:
        raise UnsupportedModelError(
            f"heads of {spec.head_dim} dimensions are not supported: ONNX Runtime's GroupQueryAttention needs a "
            f"multiple of {HEAD_DIM_MULTIPLE}"
        )


def attention_needs_position_ids(spec: AttentionSpec) -> bool:
    """Whether anything but GroupQueryAttention itself looks at positions."""
    return _rotates_before(spec) or spec.query_scaling is not None


def attention(
    g: GraphBuilder,
    x: ir.Value,
    spec: AttentionSpec,
    past_key: ir.Value,
    past_value: ir.Value,
    positions: Positions,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Project, rotate, attend and project back.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The attention.
        past_key: [batch_size, num_kv_heads, past_sequence_length, head_dim].
        past_value: Of the same shape.
        positions: What all layers share.

    Returns:
        The output, shaped as x, and the present key and value.
    """
    query, key, value, gate = _projections(g, x, spec, positions)
    inside = spec.rope if spec.rope is not None and not _rotates_before(spec) else None
    table = positions.tables[inside] if inside is not None else None
    heads, present_key, present_value = g.ops(
        "GroupQueryAttention",
        [
            query,
            key,
            value,
            past_key,
            past_value,
            positions.lengths.seqlens_k,
            positions.lengths.total_sequence_length,
            table.cos if table else None,
            table.sin if table else None,
            None,
            positions.alibi[spec.alibi_slopes] if spec.alibi_slopes is not None else None,
            _sinks(g) if spec.sinks else None,
        ],
        3,
        domain=MICROSOFT,
        num_heads=spec.num_heads,
        kv_num_heads=spec.num_kv_heads,
        scale=spec.scale if spec.scale is not None else 1 / math.sqrt(spec.head_dim),
        softcap=spec.softcap or 0.0,
        local_window_size=spec.window or -1,
        do_rotary=int(inside is not None),
        rotary_interleaved=int(inside is not None and inside.interleaved),
    )
    if gate is not None:
        heads = g.op("Mul", [heads, g.op("Sigmoid", [gate])])
    return linear(g, heads, "output"), present_key, present_value


def rotate(g: GraphBuilder, x: ir.Value, rope: RopeSpec, positions: Positions, *, num_heads: int) -> ir.Value:
    """Apply a rotary embedding to the heads of [batch_size, sequence_length, num_heads * head_dim]."""
    table = positions.tables[rope]
    return g.op(
        "RotaryEmbedding",
        [x, positions.position_ids, table.cos, table.sin],
        domain=MICROSOFT,
        num_heads=num_heads,
        rotary_embedding_dim=rope.dim,
        interleaved=int(rope.interleaved),
    )


def _rotates_before(spec: AttentionSpec) -> bool:
    """Whether the rotation happens before GroupQueryAttention instead of inside it.

    Its kernels want heads and rotary parts of multiples of 16. For rows that are chosen by a sequence's length they
    would have to follow its position_ids input, but they take the rows of a first prompt from the first element
    alone, whatever the other sequences of the batch are.
    """
    if spec.rope is None:
        return False
    fits = spec.rope.dim % ROTARY_MULTIPLE == 0 and spec.head_dim % ROTARY_MULTIPLE == 0
    return not fits or spec.rope.switch_length is not None or spec.qk_norm_after_rope


def _projections(
    g: GraphBuilder, x: ir.Value, spec: AttentionSpec, positions: Positions
) -> tuple[ir.Value, ir.Value | None, ir.Value | None, ir.Value | None]:
    """Queries, keys, values and gates; the first three packed where nothing has to touch them before the attention."""
    modules = ("q", "k", "v", "gate") if spec.output_gate else ("q", "k", "v")
    packed = linear(g, x, *modules, name="qkv")
    if spec.qkv_clip is not None:
        packed = g.op("Clip", [packed, g.scalar(-spec.qkv_clip), g.scalar(spec.qkv_clip)])
    touched = (spec.qk_norm, spec.v_norm, spec.query_scaling)
    if not spec.output_gate and not _rotates_before(spec) and all(part is None for part in touched):
        return packed, None, None, None
    sizes = [spec.q_size, spec.kv_size, spec.kv_size, spec.q_size][: len(modules)]
    query, key, value, *gate = g.ops("Split", [packed, g.integers(*sizes)], len(sizes), axis=-1)
    if not spec.qk_norm_after_rope:
        query, key = _normalize_queries_keys(g, query, key, spec)
    if spec.rope is not None and _rotates_before(spec):
        query = rotate(g, query, spec.rope, positions, num_heads=spec.num_heads)
        key = rotate(g, key, spec.rope, positions, num_heads=spec.num_kv_heads)
    if spec.qk_norm_after_rope:
        query, key = _normalize_queries_keys(g, query, key, spec)
    if spec.v_norm is not None:
        value = _normalize_heads(g, value, "v_norm", spec.v_norm, spec.head_dim)
    if spec.query_scaling is not None:
        query = g.op("Mul", [query, _scaling_of(g, spec.query_scaling, positions)])
    return query, key, value, gate[0] if gate else None


def _normalize_queries_keys(
    g: GraphBuilder, query: ir.Value, key: ir.Value, spec: AttentionSpec
) -> tuple[ir.Value, ir.Value]:
    norm = spec.qk_norm
    if norm is None:
        return query, key
    if spec.qk_norm_over == "projection":
        return normalize(g, query, "q_norm", norm, spec.q_size), normalize(
            g, key, "k_norm", norm, spec.kv_size
        )
    own_weights = spec.qk_norm_over == "heads"
    return (
        _normalize_heads(g, query, "q_norm", norm, spec.head_dim, own_weights=own_weights),
        _normalize_heads(g, key, "k_norm", norm, spec.head_dim, own_weights=own_weights),
    )


def _normalize_heads(
    g: GraphBuilder, x: ir.Value, name: str, norm: NormSpec, head_dim: int, *, own_weights: bool = False
) -> ir.Value:
    """Normalize each head; GroupQueryAttention's own q_norm_weight has no CPU kernel.

    With weights of their own the heads are normalized without one and multiplied, packed again, by all of them.
    """
    heads = g.op("Reshape", [x, g.integers(0, 0, -1, head_dim)])
    if not own_weights:
        return g.op("Reshape", [normalize(g, heads, name, norm, head_dim), g.integers(0, 0, -1)])
    plain = NormSpec(norm.kind, norm.eps, weight=False)
    packed = g.op("Reshape", [normalize(g, heads, name, plain, head_dim), g.integers(0, 0, -1)])
    with g.scope(name):
        weights = g.parameter("weight")[:].astype(np.float32).reshape(-1) + np.float32(norm.offset)
        packed = g.op("Mul", [packed, g.initializer("weights", from_array(weights, g.precision.float_type))])
        if not norm.bias:
            return packed
        biases = from_array(g.parameter("bias")[:].reshape(-1), g.precision.float_type)
        return g.op("Add", [packed, g.initializer("biases", biases)])


def _scaling_of(g: GraphBuilder, scaling: QueryScaling, positions: Positions) -> ir.Value:
    """The factor on the queries of each new token: [batch_size, sequence_length, 1]."""
    interval = g.constant(np.asarray(scaling.interval, np.int64))
    steps = g.op("Div", [positions.position_ids, interval])  # whole numbers: rounded down
    grown = g.op("Log", [g.op("Add", [g.op("Cast", [steps], to=ir.DataType.FLOAT), g.float32(1.0)])])
    factor = g.op("Add", [g.op("Mul", [grown, g.float32(scaling.beta)]), g.float32(1.0)])
    if g.precision.float_type != ir.DataType.FLOAT:
        factor = g.op("Cast", [factor], to=g.precision.float_type)
    return g.op("Unsqueeze", [factor, g.integers(2)])


def _sinks(g: GraphBuilder) -> ir.Value:
    return g.initializer("sinks", from_array(g.parameter("sinks")[:], g.precision.float_type))
