"""What transforms tokens one by one: the one place where a kind of feed-forward block is joined to its operator."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.builder import GraphBuilder
from genai.export.ops.mlp import mlp
from genai.export.spec import FeedForward

__all__ = ["feed_forward"]


def feed_forward(g: GraphBuilder, x: ir.Value, spec: FeedForward) -> ir.Value:
    """Transform tokens one by one: [batch_size, sequence_length, hidden_size] both ways."""
    with g.scope(spec.scope):
        return mlp(g, x, spec)
