"""The attention operator: com.microsoft's GroupQueryAttention, over buffers that past and present share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import onnx_ir as ir

from genai.export.build.emitter import Emitter
from genai.export.build.lengths import Lengths
from genai.export.build.rope_tables import RopeTable
from genai.graph.operators import GROUP_QUERY_ATTENTION

__all__ = ["HEAD_DIM_MULTIPLE", "ROTARY_MULTIPLE", "CacheScales", "group_query_attention"]

HEAD_DIM_MULTIPLE = 8
"""What its kernels want of a head's width."""

ROTARY_MULTIPLE = 16
"""What its kernels want of a head's width and of its rotary part, where they rotate."""


@dataclass(frozen=True, slots=True)
class CacheScales:
    """The scales of a layer's keys and values, float32 [1, num_kv_heads, 1, head_dim] each."""

    key: ir.Value
    value: ir.Value


class _CacheType(TypedDict, total=False):
    """The attributes that say what a cache holds; with none of them it is floats."""

    k_quant_type: str
    v_quant_type: str
    kv_cache_bit_width: int


def group_query_attention(
    e: Emitter,
    query: ir.Value,
    key: ir.Value | None,
    value: ir.Value | None,
    past_key: ir.Value,
    past_value: ir.Value,
    lengths: Lengths,
    *,
    num_heads: int,
    num_kv_heads: int,
    scale: float,
    softcap: float | None = None,
    window: int | None = None,
    table: RopeTable | None = None,
    interleaved: bool = False,
    bias: ir.Value | None = None,
    sinks: ir.Value | None = None,
    scales: CacheScales | None = None,
    num_outputs: int = 3,
) -> list[ir.Value]:
    """Attend to past and new positions.

    Args:
        e: The graph.
        query: [batch_size, sequence_length, num_heads * head_dim]; with keys and values behind each query where these
            are None.
        key: [batch_size, sequence_length, num_kv_heads * head_dim]; `value` likewise.
        value: See `key`.
        past_key: [batch_size, num_kv_heads, past_sequence_length, head_dim]; `past_value` likewise.
        past_value: See `past_key`.
        lengths: The rows' lengths.
        num_heads: Query heads.
        num_kv_heads: Key/value heads.
        scale: Factor on the scores.
        softcap: Scores become softcap * tanh(score / softcap); None is off.
        window: Positions that a token sees, itself included; None is all.
        table: Of the rotary embedding that the operator applies to queries and keys, if it applies one.
        interleaved: Whether that rotates neighbours, instead of one half of a head against the other.
        bias: Added to the scores, [batch_size or 1, num_heads or 1, sequence_length, total_sequence_length].
        sinks: A score of each head that takes part in the softmax and attends to nothing, [num_heads].
        scales: Of a cache that holds codes of 8 bits, and that the operator writes.
        num_outputs: 3; 1 where the present is not wanted.

    Returns:
        The heads, [batch_size, sequence_length, num_heads * head_dim], then the present key and value.
    """
    cache_type: _CacheType = {}
    if scales is not None:  # the CPU's kernel wants both types to be the same
        cache_type = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
    return e.ops(
        GROUP_QUERY_ATTENTION.op_type,
        GROUP_QUERY_ATTENTION.arrange(
            query=query,
            key=key,
            value=value,
            past_key=past_key,
            past_value=past_value,
            seqlens_k=lengths.seqlens_k,
            total_sequence_length=lengths.total_sequence_length,
            cos_cache=table.cos if table is not None else None,
            sin_cache=table.sin if table is not None else None,
            attention_bias=bias,
            head_sink=sinks,
            k_scale=scales.key if scales is not None else None,
            v_scale=scales.value if scales is not None else None,
        ),
        num_outputs,
        domain=GROUP_QUERY_ATTENTION.domain,
        num_heads=num_heads,
        kv_num_heads=num_kv_heads,
        scale=scale,
        softcap=softcap or 0.0,
        local_window_size=window or -1,
        do_rotary=int(table is not None),
        rotary_interleaved=int(interleaved),
        **cache_type,
    )
