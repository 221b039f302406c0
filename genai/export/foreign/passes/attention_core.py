"""Finds a layer's attention between its cache and its output projection, and proves what it computes.

An attention's core reads a query and the grown cache, and ends where the heads are side by side again. It is found by
walking from the cache to the softmax and on; which scale, which soft cap and which keys it reads is measured on the
core itself, run on random operands (genai.export.foreign.passes.probe), and then compared with a plain attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.build.group_query_attention import HEAD_DIM_MULTIPLE
from genai.export.foreign.passes.graph_queries import (
    cache_dimensions,
    dependents,
    is_op,
    producer_of,
    scalar_of,
)
from genai.export.foreign.passes.masks import Mask, causal_mask
from genai.export.foreign.passes.probe import Array, Prober, Sizes
from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.names import KEY, VALUE, LayerState

__all__ = ["AttentionCore", "find_core", "measure_scale", "prove_core"]

SMALL_SIZES = (Sizes(1, 0, 1), Sizes(2, 0, 5), Sizes(1, 6, 1), Sizes(2, 3, 5))
BEFORE_SOFTMAX = ("Add", "Cast", "Div", "Max", "Mul", "Reshape", "Tanh", "Where")
AFTER_SOFTMAX = ("Cast", "MatMul", "Reshape", "Transpose", "Where")
BEFORE_QUERY = ("Div", "Mul", "Reshape", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class AttentionCore:
    """One layer's attention, by the values at its edge.

    Args:
        past_key: The graph's input [batch_size, num_kv_heads, past, head_dim]; `past_value` likewise.
        past_value: See `past_key`.
        present_key: `past_key` with `key` behind it; `present_value` likewise.
        present_value: See `present_key`.
        query: [batch_size, num_heads, sequence_length, head_dim], not scaled yet.
        key: [batch_size, num_kv_heads, sequence_length, head_dim], rotated; `value` likewise.
        value: See `key`.
        scores: The first product's result.
        logits: What the softmax reads.
        guards: Conditions behind the softmax that choose between its result and a constant.
        output: The heads side by side: [batch_size, sequence_length, num_heads * head_dim], or with the first two
            axes in one.
        num_heads: Of the query.
        num_kv_heads: Of key and value.
        head_dim: A head's width.
        factor: What the scores are multiplied by before the softmax.
        softcap: The scores' soft cap, 0.0 without.
        is_flat: Whether the output has rows and positions in one axis.
    """

    past_key: ir.Value
    past_value: ir.Value
    present_key: ir.Value
    present_value: ir.Value
    query: ir.Value
    key: ir.Value
    value: ir.Value
    scores: ir.Value
    logits: ir.Value
    guards: tuple[ir.Value, ...]
    output: ir.Value
    num_heads: int
    num_kv_heads: int
    head_dim: int
    factor: float
    softcap: float
    is_flat: bool


def find_core(prober: Prober, layer: int) -> AttentionCore:
    """Find a layer's core; `prove_core` then says whether it is one.

    Raises:
        Unprovable: It does not look like an attention with a concatenated cache.
    """
    past_key, present_key, key = _concatenation(prober.graph, LayerState(layer, KEY))
    past_value, present_value, value = _concatenation(prober.graph, LayerState(layer, VALUE))
    num_kv_heads, head_dim = cache_dimensions(past_key)
    if cache_dimensions(past_value) != (num_kv_heads, head_dim):
        raise Unprovable("keys and values have different sizes")
    if head_dim % HEAD_DIM_MULTIPLE:
        raise Unprovable(f"heads of {head_dim} dimensions have no kernel")
    of_key = dependents(prober.graph, [present_key], through_shape=False)
    softmax = next(
        (node for node in prober.graph if is_op(node, "Softmax") and node.inputs[0] in of_key), None
    )
    if softmax is None or softmax.inputs[0] is None:
        raise Unprovable("no softmax reads the keys")
    product, factor, softcap = _walk_to_scores(softmax.inputs[0], of_key)
    num_heads = _count_heads(prober, product.outputs[0], num_kv_heads)
    operand = next((item for item in product.inputs if item is not None and item not in of_key), None)
    output, guards = _walk_to_output(prober, softmax.outputs[0], present_value, num_heads * head_dim)
    return AttentionCore(
        past_key=past_key,
        past_value=past_value,
        present_key=present_key,
        present_value=present_value,
        query=_walk_to_query(prober, operand, num_heads, head_dim),
        key=key,
        value=value,
        scores=product.outputs[0],
        logits=softmax.inputs[0],
        guards=guards,
        output=output,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        factor=factor,
        softcap=softcap,
        is_flat=len(prober.at(SMALL_SIZES[-1]).shape(output)) == 2,
    )


def measure_scale(prober: Prober, core: AttentionCore) -> float:
    """Return the factor of queries times keys in a core.

    Raises:
        Unprovable: The core cannot be run.
    """
    sizes = SMALL_SIZES[-1]
    query, key, _ = _operands(core, sizes)
    scores = (
        prober.at(sizes, {core.query: query, core.present_key: key}).value(core.scores).astype(np.float64)
    )
    products = _products(core, query, key)
    measured = float((scores.reshape(products.shape) * products).sum() / (products * products).sum())
    scale, usual = measured * core.factor, 1 / math.sqrt(core.head_dim)
    noise = 1e-6 if query.dtype == np.float32 else 1e-3
    return next((exact for exact in (usual, 1.0) if math.isclose(scale, exact, rel_tol=noise)), scale)


def prove_core(prober: Prober, core: AttentionCore, scale: float, mask: Mask) -> None:
    """Compare a core with plain causal attention, on random operands of small sizes.

    Args:
        prober: The graph.
        core: The core.
        scale: The factor of queries times keys.
        mask: Which keys a query sees, and how it favours the near ones.

    Raises:
        Unprovable: They differ, or the core depends on something else.
    """
    for sizes in SMALL_SIZES:
        query, key, value = _operands(core, sizes)
        probe = prober.at(sizes, {core.query: query, core.present_key: key, core.present_value: value})
        expected = _attend(core, query, key, value, scale, mask)
        result = probe.value(core.output)
        tolerance = 1e-4 if result.dtype == np.float32 else 2e-2
        if result.size != expected.size or not np.allclose(
            result.reshape(expected.shape), expected, atol=tolerance, rtol=0
        ):
            raise Unprovable("it does not compute causal attention")


def _concatenation(graph: ir.Graph, state: LayerState) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return a cache's past, its present and what the present has behind the past."""
    past = next((value for value in graph.inputs if value.name == state.past), None)
    present = next((value for value in graph.outputs if value.name == state.present), None)
    node = producer_of(present, "Concat")
    if past is None or present is None or node is None or len(node.inputs) != 2 or node.inputs[0] is not past:
        raise Unprovable(f"{state.present} is not its past with new positions behind it")
    new = node.inputs[1]
    if new is None or node.attributes.get_int("axis") not in (2, -2):
        raise Unprovable(f"{state.present} does not grow along its axis of positions")
    return past, present, new


def _walk_to_scores(logits: ir.Value, of_key: set[ir.Value]) -> tuple[ir.Node, float, float]:
    """Go from the softmax back to the product with the keys; return it, the factor and the soft cap on the way."""
    value, factor, softcap = logits, 1.0, 0.0
    while True:
        node = producer_of(value, "MatMul", *BEFORE_SOFTMAX)
        if node is None:
            raise Unprovable(f"{value.name} stands between the keys and the softmax")
        if node.op_type == "MatMul":
            return node, factor, softcap
        candidates = [operand for operand in node.inputs if operand is not None and operand in of_key]
        if len(candidates) != 1 or (node.op_type == "Where" and candidates[0] is node.inputs[0]):
            raise Unprovable(f"{node.op_type} ({node.name}) before the softmax reads the keys twice")
        if node.op_type in ("Mul", "Div"):
            factor *= _factor(node, candidates[0])
        elif node.op_type == "Tanh":
            softcap = factor
        value = candidates[0]


def _factor(node: ir.Node, operand: ir.Value) -> float:
    """Return what a product or quotient with a constant of one element multiplies its operand by."""
    other = node.inputs[1] if node.inputs[0] is operand else node.inputs[0]
    number = scalar_of(other)
    if number is None or (node.op_type == "Div" and (other is node.inputs[0] or number == 0)):
        raise Unprovable(f"{node.op_type} ({node.name}) in the attention is not by a constant")
    return 1 / number if node.op_type == "Div" else number


def _count_heads(prober: Prober, scores: ir.Value, num_kv_heads: int) -> int:
    sizes = SMALL_SIZES[-1]
    num_heads = math.prod(prober.at(sizes).shape(scores)) // (sizes.batch * sizes.length * sizes.total)
    if num_heads == 0 or num_heads % num_kv_heads:
        raise Unprovable(f"{num_heads} heads do not divide into {num_kv_heads}")
    return num_heads


def _walk_to_query(prober: Prober, value: ir.Value | None, num_heads: int, head_dim: int) -> ir.Value:
    """Go from the first product's operand back to the query as it was before scaling and flattening."""
    sizes = SMALL_SIZES[-1]
    wanted = (sizes.batch, num_heads, sizes.length, head_dim)
    probe = prober.at(sizes)
    while value is not None:
        node = producer_of(value, *BEFORE_QUERY)
        unscaled = _unscaled(node)
        if unscaled is None and probe.shape(value) == wanted:
            return value
        is_view = is_op(node, "Reshape", "Unsqueeze")
        value = unscaled or (node.inputs[0] if node is not None and is_view else None)
    raise Unprovable("there is no query of [batch_size, num_heads, sequence_length, head_dim]")


def _unscaled(node: ir.Node | None) -> ir.Value | None:
    """Return what a node multiplies or divides by a number; None if it is no such node."""
    if node is None or not is_op(node, "Mul", "Div"):
        return None
    first, second = node.inputs
    if scalar_of(second) is not None:
        return first
    return second if is_op(node, "Mul") and scalar_of(first) is not None else None


def _walk_to_output(
    prober: Prober, value: ir.Value, present_value: ir.Value, width: int
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Go on from the softmax to where the heads are side by side; return that and the conditions on the way."""
    sizes = SMALL_SIZES[-1]
    probe = prober.at(sizes)
    of_value = dependents(prober.graph, [present_value], through_shape=False)
    guards: list[ir.Value] = []
    wanted = ((sizes.batch, sizes.length, width), (sizes.batch * sizes.length, width))
    while not (value in of_value and probe.shape(value) in wanted):
        readers = {use.node for use in value.uses() if not is_op(use.node, "IsNaN", "Shape")}
        node = readers.pop() if len(readers) == 1 else None
        if node is None or not is_op(node, *AFTER_SOFTMAX):
            raise Unprovable(f"{value.name} stands between the softmax and the output")
        if node.op_type == "Where" and node.inputs[0] is not None:
            guards.append(node.inputs[0])
        value = node.outputs[0]
    return value, tuple(guards)


def _operands(core: AttentionCore, sizes: Sizes) -> tuple[Array, Array, Array]:
    """Random query, keys and values in the graph's type."""
    generator = np.random.default_rng(sizes.total)
    dtype = core.past_key.dtype.numpy() if core.past_key.dtype is not None else np.dtype(np.float32)
    keys = (sizes.batch, core.num_kv_heads, sizes.total, core.head_dim)
    return (
        generator.standard_normal((sizes.batch, core.num_heads, sizes.length, core.head_dim)).astype(dtype),
        generator.standard_normal(keys).astype(dtype),
        generator.standard_normal(keys).astype(dtype),
    )


def _products(core: AttentionCore, query: Array, key: Array) -> Array:
    """Return queries times keys, in float64: [batch_size, num_heads, sequence_length, total]."""
    keys = np.repeat(key.astype(np.float64), core.num_heads // core.num_kv_heads, axis=1)
    return query.astype(np.float64) @ keys.swapaxes(-1, -2)


def _attend(core: AttentionCore, query: Array, key: Array, value: Array, scale: float, mask: Mask) -> Array:
    """Plain causal attention: [batch_size, sequence_length, num_heads * head_dim]."""
    scores = _products(core, query, key) * scale
    if core.softcap:
        scores = np.tanh(scores / core.softcap) * core.softcap
    if mask.slopes is not None:
        scores += np.asarray(mask.slopes)[:, None, None] * np.arange(scores.shape[-1])
    scores = np.where(causal_mask(scores.shape[-2], scores.shape[-1], mask.window), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    heads = weights @ np.repeat(value.astype(np.float64), core.num_heads // core.num_kv_heads, axis=1)
    output: Array = heads.swapaxes(1, 2).reshape(query.shape[0], query.shape[2], -1)
    return output
