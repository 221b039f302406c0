"""Which experts a token passes, and with which weights.

Every rule ends in one form, which the kernels of experts and a plain graph both read: one number per expert, of which
the largest are the selected ones, and whose softmax over these alone is their routing weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from genai.export.architecture import RouterSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.tensors import from_array

__all__ = ["Routing", "route"]

FLOAT = ir.DataType.FLOAT
MASKED_LOGIT = -1e4  # far below the logarithm of any weight, and within half precision
SMALLEST_WEIGHT = 1e-30


@dataclass(frozen=True, slots=True)
class Routing:
    """Where the tokens go.

    Args:
        logits: [batch_size, sequence_length, num_experts]; the largest are selected, and a softmax over these alone
            gives their routing weights.
        total: What the sum over the experts is multiplied by, [batch_size, sequence_length, 1]; `None` is 1.
    """

    logits: ir.Value
    total: ir.Value | None


@dataclass(frozen=True, slots=True)
class _Selected:
    """A token's experts and routing weights, int64 and float32 [batch_size, sequence_length, num_experts_per_token]."""

    experts: ir.Value
    weights: ir.Value


def route(g: GraphBuilder, x: ir.Value, spec: RouterSpec) -> Routing:
    """Select the experts of each token of [batch_size, sequence_length, hidden_size].

    The rules are computed in float32 whatever the precision is, as transformers does.
    """
    outputs = linear(g, x, "router")
    is_half = g.precision.float_type != FLOAT
    with g.scope("router"):
        outputs = g.op("Cast", [outputs], to=FLOAT) if is_half else outputs
        logits, total = _rule(g, outputs, spec)
        if is_half:  # near 0, where the largest are, half precision is finest
            logits = g.op("Cast", [_log_softmax(g, logits)], to=g.precision.float_type)
            total = None if total is None else g.op("Cast", [total], to=g.precision.float_type)
    return Routing(logits, total)


def _log_softmax(g: GraphBuilder, logits: ir.Value) -> ir.Value:
    if "LogSoftmax" in g.precision.form.without:
        return g.op("Log", [g.op("Softmax", [logits], axis=-1)])
    return g.op("LogSoftmax", [logits], axis=-1)


def _rule(g: GraphBuilder, outputs: ir.Value, spec: RouterSpec) -> tuple[ir.Value, ir.Value | None]:
    """The router's logits and the sum of the routing weights, in float32."""
    count = g.integers(spec.num_experts_per_token)
    if spec.scores == "softmax" and spec.num_groups == 1 and not spec.correction_bias:
        if spec.normalize:
            return outputs, _scaled(g, None, spec)
        best, _ = g.ops("TopK", [g.op("Softmax", [outputs], axis=-1), count], 2, axis=-1)
        return outputs, _scaled(g, _sum(g, best), spec)
    selected = (
        _sparse_mixer(g, outputs, spec) if spec.scores == "sparse_mixer" else _top_k(g, outputs, spec, count)
    )
    total = _sum(g, selected.weights)
    normalized = g.op("Max", [g.op("Div", [selected.weights, total]), g.float32(SMALLEST_WEIGHT)])
    masked = g.op("Expand", [g.float32(MASKED_LOGIT), g.op("Shape", [outputs])])
    logits = g.op("ScatterElements", [masked, selected.experts, g.op("Log", [normalized])], axis=-1)
    return logits, _scaled(g, None if spec.normalize else total, spec)


def _top_k(g: GraphBuilder, outputs: ir.Value, spec: RouterSpec, count: ir.Value) -> _Selected:
    """The experts of the best scores, perhaps after a correction and within the best groups."""
    scores = g.op("Sigmoid", [outputs]) if spec.scores == "sigmoid" else g.op("Softmax", [outputs], axis=-1)
    corrected = scores
    if spec.correction_bias:
        biases = g.initializer("correction_bias", from_array(g.parameter("correction_bias")[:], FLOAT))
        corrected = g.op("Add", [corrected, biases])
    if spec.num_groups > 1:
        corrected = _mask_other_groups(g, corrected, spec)
    _, experts = g.ops("TopK", [corrected, count], 2, axis=-1)
    return _Selected(experts, g.op("GatherElements", [scores, experts], axis=-1))


def _mask_other_groups(g: GraphBuilder, scores: ir.Value, spec: RouterSpec) -> ir.Value:
    """Mask the scores of the experts outside the best groups (https://arxiv.org/abs/2412.19437, section 2.1.2)."""
    by_group = g.op("Reshape", [scores, g.integers(0, 0, spec.num_groups, -1)])
    best, _ = g.ops("TopK", [by_group, g.integers(spec.num_scores_per_group)], 2, axis=-1)
    group_scores = g.op("ReduceSum", [best, g.integers(-1)], keepdims=0)
    _, groups = g.ops("TopK", [group_scores, g.integers(spec.num_groups_per_token)], 2, axis=-1)
    masked = g.op("Expand", [g.float32(-math.inf), g.op("Shape", [group_scores])])
    kept = g.op("Expand", [g.float32(0.0), g.op("Shape", [groups])])
    mask = g.op("ScatterElements", [masked, groups, kept], axis=-1)
    limited = g.op("Add", [by_group, g.op("Unsqueeze", [mask, g.integers(-1)])])
    return g.op("Reshape", [limited, g.integers(0, 0, -1)])


def _sparse_mixer(g: GraphBuilder, outputs: ir.Value, spec: RouterSpec) -> _Selected:
    """The best expert and the best of the others, each weighed against those that come close to it."""
    best, experts = g.ops("TopK", [outputs, g.integers(2)], 2, axis=-1)
    first, second = g.ops("Split", [best, g.integers(1, 1)], 2, axis=-1)
    first_expert = g.op("Slice", [experts, g.integers(0), g.integers(1), g.integers(-1)])
    masked = g.op("Expand", [g.float32(-math.inf), g.op("Shape", [first_expert])])
    others = g.op("ScatterElements", [outputs, first_expert, masked], axis=-1)
    weights = [
        _weight_among(g, outputs, first, outputs, spec),
        _weight_among(g, others, second, outputs, spec),
    ]
    return _Selected(experts, g.op("Concat", weights, axis=-1))


def _weight_among(
    g: GraphBuilder, candidates: ir.Value, best: ir.Value, outputs: ir.Value, spec: RouterSpec
) -> ir.Value:
    """The best candidate's part in a softmax over those candidates that come close to it."""
    larger = g.op("Max", [g.op("Abs", [outputs]), best])
    difference = g.op("Div", [g.op("Sub", [best, outputs]), larger])
    is_close = g.op("Not", [g.op("Greater", [difference, g.float32(2 * spec.tolerance)])])
    parts = g.op("Where", [is_close, g.op("Exp", [g.op("Sub", [candidates, best])]), g.float32(0.0)])
    return g.op("Reciprocal", [_sum(g, parts)])


def _sum(g: GraphBuilder, values: ir.Value) -> ir.Value:
    return g.op("ReduceSum", [values, g.integers(-1)], keepdims=1)


def _scaled(g: GraphBuilder, total: ir.Value | None, spec: RouterSpec) -> ir.Value | None:
    if spec.scaling_factor == 1.0:
        return total
    factor = g.float32(spec.scaling_factor)
    return factor if total is None else g.op("Mul", [total, factor])
