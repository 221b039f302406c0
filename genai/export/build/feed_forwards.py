"""What transforms tokens one by one: the one place where a kind of feed-forward block is joined to its operator."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.architecture import DenseAndExpertsSpec, FeedForward, MlpSpec, MoeSpec
from genai.export.build.dense_and_experts import dense_and_experts
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.mlp import mlp
from genai.export.build.moe import moe

__all__ = ["feed_forward"]


def feed_forward(g: GraphBuilder, x: ir.Value, spec: FeedForward) -> ir.Value:
    """Transform tokens one by one: [batch_size, sequence_length, hidden_size] both ways."""
    with g.scope(spec.scope):
        match spec:
            case MlpSpec():
                return mlp(g, x, spec)
            case MoeSpec():
                return moe(g, x, spec)
            case DenseAndExpertsSpec():
                return dense_and_experts(g, x, spec)
