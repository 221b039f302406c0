"""Multi-head latent attention as GroupQueryAttention with one key/value head: the latent vectors themselves.

The cache holds latent_dim + shared_dim numbers per position, twice, where keys and values of all heads would be
num_heads * (query_dim + value_dim): 1152 instead of 5120 in DeepSeek-V2-Lite, 1152 instead of 40960 in DeepSeek-V3.
The price is wider scores (576 dimensions instead of 192) and that the matrices that the heads' queries and outputs
pass stay in floats, since there is no quantized product of many small matrices.
"""

from __future__ import annotations

import onnx_ir as ir

from genai.errors import UnsupportedModelError
from genai.export.architecture import LatentAttentionSpec
from genai.export.build.attention import factor_of_queries, rotate
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.group_query_attention import HEAD_DIM_MULTIPLE, group_query_attention
from genai.export.build.linear import linear
from genai.export.build.norms import normalize
from genai.export.build.positions import Positions
from genai.export.build.tensors import LazyTensor
from genai.export.checkpoint.checkpoint import Array

__all__ = ["check_latent_attention", "latent_attention"]


def check_latent_attention(spec: LatentAttentionSpec) -> None:
    """See that there is a kernel for an attention.

    Raises:
        UnsupportedModelError: There is none.
    """
    if spec.head_dim % HEAD_DIM_MULTIPLE:
        raise UnsupportedModelError(
            f"latent keys of {spec.latent_dim} + {spec.shared_dim} dimensions are not supported: ONNX Runtime's "
            f"GroupQueryAttention needs a multiple of {HEAD_DIM_MULTIPLE}"
        )


def latent_attention(
    g: GraphBuilder,
    x: ir.Value,
    spec: LatentAttentionSpec,
    past_key: ir.Value,
    past_value: ir.Value,
    positions: Positions,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Attend to latent vectors.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The attention.
        past_key: [batch_size, 1, past_sequence_length, latent_dim + shared_dim].
        past_value: Of the same shape.
        positions: What all layers share.

    Returns:
        The output, shaped as x, and the present key and value.
    """
    query, key = _query_and_key(g, x, spec, positions)
    heads, present_key, present_value = group_query_attention(
        g,
        query,
        key,
        key,
        past_key,
        past_value,
        positions.lengths,
        num_heads=spec.num_heads,
        num_kv_heads=spec.num_kv_heads,
        scale=spec.scale,
    )
    latents, _ = _split(g, _by_head(g, heads, spec.num_heads), spec.latent_dim, spec.shared_dim)
    values = _product_by_head(g, latents, _value_matrices(g, spec))
    if spec.head_gate:
        gates = g.op("Sigmoid", [linear(g, x, "head_gate")])
        values = g.op("Mul", [values, g.op("Unsqueeze", [gates, g.integers(-1)])])
    output = g.op("Reshape", [values, g.integers(0, 0, -1)])
    return linear(g, output, "output"), present_key, present_value


def _query_and_key(
    g: GraphBuilder, x: ir.Value, spec: LatentAttentionSpec, positions: Positions
) -> tuple[ir.Value, ir.Value]:
    """Queries for latent keys, and the keys: [batch_size, sequence_length, heads * (latent_dim + shared_dim)] each."""
    query_width = spec.num_heads * spec.query_dim if spec.query_rank is None else spec.query_rank
    packed = linear(g, x, "q" if spec.query_rank is None else "q_down", "kv_down", name="q_kv_down")
    query, key = _split(g, packed, query_width, spec.head_dim)
    if spec.query_rank is not None:
        query = linear(g, normalize(g, query, "q_norm", spec.norm, spec.query_rank), "q_up")
    latent, key_shared = _split(g, key, spec.latent_dim, spec.shared_dim)
    latent = normalize(g, latent, "kv_norm", spec.norm, spec.latent_dim)
    query_nope, query_shared = _split(g, _by_head(g, query, spec.num_heads), spec.nope_dim, spec.shared_dim)
    query_shared = g.op("Reshape", [query_shared, g.integers(0, 0, -1)])
    if spec.rope is not None:
        key_shared = rotate(g, key_shared, spec.rope, positions, num_heads=1)
        query_shared = rotate(g, query_shared, spec.rope, positions, num_heads=spec.num_heads)
    absorbed = _product_by_head(g, query_nope, _key_matrices(g, spec))
    query = g.op("Concat", [absorbed, _by_head(g, query_shared, spec.num_heads)], axis=-1)
    query = g.op("Reshape", [query, g.integers(0, 0, -1)])
    if spec.query_scaling is not None:
        query = g.op("Mul", [query, factor_of_queries(g, spec.query_scaling, positions)])
    return query, g.op("Concat", [latent, key_shared], axis=-1)


def _product_by_head(g: GraphBuilder, x: ir.Value, matrices: ir.Value) -> ir.Value:
    """Multiply [batch_size, sequence_length, heads, inputs] by [heads, inputs, outputs], each head by its own."""
    by_head = g.op("Transpose", [x], perm=[0, 2, 1, 3])
    return g.op("Transpose", [g.op("MatMul", [by_head, matrices])], perm=[0, 2, 1, 3])


def _key_matrices(g: GraphBuilder, spec: LatentAttentionSpec) -> ir.Value:
    """What turns a head's query into one for latent keys: [num_heads, nope_dim, latent_dim]."""
    rows, dtype = g.parameter("k_up.weight"), g.precision.float_type
    shape = (spec.num_heads, spec.nope_dim, spec.latent_dim)

    def read(start: int, stop: int) -> Array:
        heads: Array = rows[start * spec.nope_dim : stop * spec.nope_dim]
        return heads.reshape(-1, *shape[1:]).astype(dtype.numpy())

    return g.initializer("k_up.weight", LazyTensor(dtype, shape, read))


def _value_matrices(g: GraphBuilder, spec: LatentAttentionSpec) -> ir.Value:
    """What turns a mean of latent vectors into a head's output: [num_heads, latent_dim, value_dim]."""
    rows, dtype = g.parameter("v_up.weight"), g.precision.float_type
    shape = (spec.num_heads, spec.latent_dim, spec.value_dim)

    def read(start: int, stop: int) -> Array:
        heads: Array = rows[start * spec.value_dim : stop * spec.value_dim]
        return heads.reshape(-1, spec.value_dim, spec.latent_dim).swapaxes(1, 2).astype(dtype.numpy())

    return g.initializer("v_up.weight", LazyTensor(dtype, shape, read))


def _by_head(g: GraphBuilder, x: ir.Value, num_heads: int) -> ir.Value:
    return g.op("Reshape", [x, g.integers(0, 0, num_heads, -1)])


def _split(g: GraphBuilder, x: ir.Value, first: int, second: int) -> tuple[ir.Value, ir.Value]:
    one, other = g.ops("Split", [x, g.integers(first, second)], 2, axis=-1)
    return one, other
