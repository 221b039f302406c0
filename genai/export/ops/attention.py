"""Attention as com.microsoft's GroupQueryAttention, over key/value buffers that past and present share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from genai.errors import UnsupportedModelError
from genai.export.builder import MICROSOFT, GraphBuilder
from genai.export.ops.linear import linear
from genai.export.ops.norms import normalize
from genai.export.ops.positions import Lengths, RopeTable
from genai.export.rope import RopeSpec
from genai.export.spec import AttentionSpec, NormSpec

__all__ = ["KeyValueCache", "Positions", "attention", "check_attention", "needs_position_ids"]

HEAD_DIM_MULTIPLE = 8
ROTARY_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class KeyValueCache:
    """Inputs of the graph with a layer's past, [batch_size, num_kv_heads, past_sequence_length, head_dim]."""

    key: ir.Value
    value: ir.Value


@dataclass(frozen=True, slots=True)
class Positions:
    """What attention must know of lengths and positions; `position_ids` only where something needs them."""

    lengths: Lengths
    position_ids: ir.Value | None
    tables: dict[RopeSpec, RopeTable]


@dataclass(frozen=True, slots=True)
class Attended:
    """The attention's output and the cache with the new positions in it."""

    output: ir.Value
    key: ir.Value
    value: ir.Value


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


def needs_position_ids(spec: AttentionSpec) -> bool:
    """Whether the rotation happens before GroupQueryAttention instead of inside it.

    Its kernels want heads and rotary parts of multiples of 16. For rows that are chosen by a sequence's length they
    would have to follow its position_ids input, but they take the rows of a first prompt from the first element
    alone, whatever the other sequences of the batch are.
    """
    if spec.rope is None:
        return False
    fits = spec.rope.dim % ROTARY_MULTIPLE == 0 and spec.head_dim % ROTARY_MULTIPLE == 0
    return not fits or spec.rope.switch_length is not None


def attention(
    g: GraphBuilder, x: ir.Value, spec: AttentionSpec, past: KeyValueCache, positions: Positions
) -> Attended:
    """Project, rotate, attend and project back: [batch_size, sequence_length, hidden_size] both ways."""
    query, key, value = _queries_keys_values(g, x, spec, positions)
    inside = spec.rope if spec.rope is not None and not needs_position_ids(spec) else None
    table = positions.tables[inside] if inside is not None else None
    heads, present_key, present_value = g.ops(
        "GroupQueryAttention",
        [
            query,
            key,
            value,
            past.key,
            past.value,
            positions.lengths.seqlens_k,
            positions.lengths.total_sequence_length,
            table.cos if table else None,
            table.sin if table else None,
        ],
        3,
        domain=MICROSOFT,
        num_heads=spec.num_heads,
        kv_num_heads=spec.num_kv_heads,
        scale=spec.scale if spec.scale is not None else 1 / math.sqrt(spec.head_dim),
        softcap=spec.softcap or 0.0,
        local_window_size=spec.window or -1,
        do_rotary=int(inside is not None),
    )
    return Attended(linear(g, heads, "output"), present_key, present_value)


def _queries_keys_values(
    g: GraphBuilder, x: ir.Value, spec: AttentionSpec, positions: Positions
) -> tuple[ir.Value, ir.Value | None, ir.Value | None]:
    """Queries, keys and values; packed into the first where nothing has to touch them before the attention."""
    packed = linear(g, x, "q", "k", "v", name="qkv")
    before = spec.rope if needs_position_ids(spec) else None
    if spec.qk_norm is None and before is None:
        return packed, None, None
    q_size, kv_size = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
    query, key, value = g.ops("Split", [packed, g.integers(q_size, kv_size, kv_size)], 3, axis=-1)
    if spec.qk_norm is not None:
        query = _normalize_heads(g, query, "q_norm", spec.qk_norm, spec.head_dim)
        key = _normalize_heads(g, key, "k_norm", spec.qk_norm, spec.head_dim)
    if before is not None:
        query = _rotate(g, query, spec.num_heads, before, positions)
        key = _rotate(g, key, spec.num_kv_heads, before, positions)
    return query, key, value


def _normalize_heads(g: GraphBuilder, x: ir.Value, name: str, norm: NormSpec, head_dim: int) -> ir.Value:
    """Normalize each head; GroupQueryAttention's own q_norm_weight has no CPU kernel."""
    heads = g.op("Reshape", [x, g.integers(0, 0, -1, head_dim)])
    return g.op("Reshape", [normalize(g, heads, name, norm), g.integers(0, 0, -1)])


def _rotate(g: GraphBuilder, x: ir.Value, num_heads: int, rope: RopeSpec, positions: Positions) -> ir.Value:
    table = positions.tables[rope]
    return g.op(
        "RotaryEmbedding",
        [x, positions.position_ids, table.cos, table.sin],
        domain=MICROSOFT,
        num_heads=num_heads,
        rotary_embedding_dim=rope.dim,
    )
