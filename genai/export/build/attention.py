"""Attention over a cache of keys and values: projections, norms and rotation around GroupQueryAttention."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from genai.config import ProviderForm
from genai.errors import UnsupportedModelError
from genai.export.architecture import AttentionSpec, NormSpec, QueryScaling
from genai.export.architecture.rope import RopeSpec
from genai.export.build.activations import clip
from genai.export.build.cache_scales import cache_scales
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.group_query_attention import (
    HEAD_DIM_MULTIPLE,
    ROTARY_MULTIPLE,
    group_query_attention,
)
from genai.export.build.linear import linear
from genai.export.build.norms import normalize
from genai.export.build.positions import Positions
from genai.export.build.tensors import from_array
from genai.graph.operators import ROTARY_EMBEDDING

__all__ = ["attention", "attention_needs_position_ids", "check_attention", "factor_of_queries", "rotate"]


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


def attention_needs_position_ids(spec: AttentionSpec, form: ProviderForm) -> bool:
    """Whether anything but GroupQueryAttention itself looks at positions."""
    return _rotates_before(spec, form) or spec.query_scaling is not None or spec.chunk is not None


def attention(
    g: GraphBuilder,
    x: ir.Value,
    spec: AttentionSpec,
    past_key: ir.Value,
    past_value: ir.Value,
    positions: Positions,
) -> tuple[ir.Value, dict[str, ir.Value]]:
    """Project, rotate, attend and project back.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The attention.
        past_key: [batch_size, num_kv_heads, past_sequence_length, head_dim]; the present one of the layer that it
            reads, if it reads another layer's.
        past_value: Of the same shape.
        positions: What all layers share.

    Returns:
        The output, shaped as x, and its present states.
    """
    query, key, value, gate = _projections(g, x, spec, positions)
    inside = spec.rope if spec.rope is not None and not _rotates_before(spec, g.precision.form) else None
    heads, *presents = group_query_attention(
        g,
        query,
        key,
        value,
        past_key,
        past_value,
        positions.lengths,
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        scale=spec.scale if spec.scale is not None else 1 / math.sqrt(spec.head_dim),
        softcap=spec.softcap,
        window=spec.window,
        table=positions.tables[inside] if inside is not None else None,
        interleaved=inside is not None and inside.interleaved,
        bias=_bias(spec, positions),
        sinks=_sinks(g) if spec.sinks else None,
        scales=cache_scales(g),
        num_outputs=1 + len(spec.states()),
    )
    if gate is not None:
        heads = g.op("Mul", [heads, g.op("Sigmoid", [gate])])
    if spec.output_norm is not None:
        heads = normalize(g, heads, "output_norm", spec.output_norm, spec.q_size)
    return linear(g, heads, "output"), {
        state.name: present for state, present in zip(spec.states(), presents, strict=True)
    }


def _bias(spec: AttentionSpec, positions: Positions) -> ir.Value | None:
    """What is added to the scores, if anything."""
    if spec.alibi is not None:
        return positions.alibis[spec.alibi]
    return positions.chunks[spec.chunk] if spec.chunk is not None else None


def rotate(g: GraphBuilder, x: ir.Value, rope: RopeSpec, positions: Positions, *, num_heads: int) -> ir.Value:
    """Apply a rotary embedding to the heads of [batch_size, sequence_length, num_heads * head_dim]."""
    table = positions.tables[rope]
    return g.op(
        ROTARY_EMBEDDING.op_type,
        ROTARY_EMBEDDING.arrange(
            input=x, position_ids=positions.position_ids, cos_cache=table.cos, sin_cache=table.sin
        ),
        domain=ROTARY_EMBEDDING.domain,
        num_heads=num_heads,
        rotary_embedding_dim=rope.dim,
        interleaved=int(rope.interleaved),
    )


def _rotates_before(spec: AttentionSpec, form: ProviderForm) -> bool:
    """Whether the rotation happens before GroupQueryAttention instead of inside it.

    Its kernels want heads and rotary parts of multiples of 16. For rows that are chosen by a sequence's length they
    would have to follow its position_ids input, but they take the rows of a first prompt from the first element
    alone, whatever the other sequences of the batch are. A provider may rotate nothing at all.
    """
    if spec.rope is None:
        return False
    fits = spec.rope.dim % ROTARY_MULTIPLE == 0 and spec.head_dim % ROTARY_MULTIPLE == 0
    return (
        form.has_plain_attention or not fits or spec.rope.switch_length is not None or spec.qk_norm_after_rope
    )


def _projections(
    g: GraphBuilder, x: ir.Value, spec: AttentionSpec, positions: Positions
) -> tuple[ir.Value, ir.Value | None, ir.Value | None, ir.Value | None]:
    """Queries, keys, values and gates; the first three packed where nothing has to touch them before the attention."""
    sizes = spec.projections
    packed = linear(g, x, *sizes, name="qkv")
    if spec.qkv_clip is not None:
        packed = clip(g, packed, low=-spec.qkv_clip, high=spec.qkv_clip)
    touched = (spec.qk_norm, spec.v_norm, spec.query_scaling)
    form = g.precision.form
    is_plain = not _rotates_before(spec, form) and all(part is None for part in touched)
    if is_plain and not form.has_plain_attention and list(sizes) == ["q", "k", "v"]:
        return packed, None, None, None
    parts = g.ops("Split", [packed, g.integers(*sizes.values())], len(sizes), axis=-1)
    by_module = dict(zip(sizes, parts, strict=True))
    query, gate = by_module["q"], by_module.get("gate")
    query = _normalize_and_rotate(g, query, "q_norm", spec.num_heads, spec, positions)
    if spec.query_scaling is not None:
        query = g.op("Mul", [query, factor_of_queries(g, spec.query_scaling, positions)])
    if spec.reads_layer is not None:  # no new keys: the kernel attends to the cache as it is, and writes none
        nothing = g.op("Slice", [query, g.integers(0, 0), g.integers(0, spec.kv_size), g.integers(1, 2)])
        return query, nothing, nothing, gate
    key = by_module["k"]
    value = by_module.get("v", key)
    key = _normalize_and_rotate(g, key, "k_norm", spec.num_kv_heads, spec, positions)
    if spec.v_norm is not None:
        value = _normalize_heads(g, value, "v_norm", spec.v_norm, spec.head_dim)
    return query, key, value, gate


def _normalize_and_rotate(
    g: GraphBuilder, x: ir.Value, norm: str, num_heads: int, spec: AttentionSpec, positions: Positions
) -> ir.Value:
    """Do to queries or keys what comes before GroupQueryAttention, in the attention's order."""
    if not spec.qk_norm_after_rope:
        x = _normalize_projection(g, x, norm, num_heads, spec)
    if spec.rope is not None and _rotates_before(spec, g.precision.form):
        x = rotate(g, x, spec.rope, positions, num_heads=num_heads)
    return _normalize_projection(g, x, norm, num_heads, spec) if spec.qk_norm_after_rope else x


def _normalize_projection(
    g: GraphBuilder, x: ir.Value, name: str, num_heads: int, spec: AttentionSpec
) -> ir.Value:
    if spec.qk_norm is None:
        return x
    if spec.qk_norm_over == "projection":
        return normalize(g, x, name, spec.qk_norm, num_heads * spec.head_dim)
    own_weights = spec.qk_norm_over == "heads"
    return _normalize_heads(g, x, name, spec.qk_norm, spec.head_dim, own_weights=own_weights)


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


def factor_of_queries(g: GraphBuilder, scaling: QueryScaling, positions: Positions) -> ir.Value:
    """The factor on the queries of each new token: [batch_size, sequence_length, 1]."""
    interval = g.constant(np.asarray(scaling.interval, np.int64))
    counted = positions.position_ids
    if scaling.offset:
        counted = g.op("Add", [counted, g.constant(np.asarray(scaling.offset, np.int64))])
    steps = g.op("Div", [counted, interval])  # whole numbers: rounded down
    grown = g.op("Log", [g.op("Add", [g.op("Cast", [steps], to=ir.DataType.FLOAT), g.float32(1.0)])])
    factor = g.op("Add", [g.op("Mul", [grown, g.float32(scaling.beta)]), g.float32(1.0)])
    if g.precision.float_type != ir.DataType.FLOAT:
        factor = g.op("Cast", [factor], to=g.precision.float_type)
    return g.op("Unsqueeze", [factor, g.integers(2)])


def _sinks(g: GraphBuilder) -> ir.Value:
    return g.initializer("sinks", from_array(g.parameter("sinks")[:], g.precision.float_type))
