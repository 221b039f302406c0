"""A dense feed-forward block and a mixture of experts side by side."""

from __future__ import annotations

import onnx_ir as ir

from genai.export.architecture import DenseAndExpertsSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.mlp import mlp
from genai.export.build.moe import moe
from genai.export.build.norms import normalize

__all__ = ["dense_and_experts"]


def dense_and_experts(g: GraphBuilder, x: ir.Value, spec: DenseAndExpertsSpec) -> ir.Value:
    """Return the sum of both blocks' normalized outputs: [batch_size, sequence_length, hidden_size] both ways."""
    size = len(g.parameter("router_norm.weight"))

    def norm(x: ir.Value, name: str) -> ir.Value:
        return normalize(g, x, name, spec.norm, size)

    inputs = norm(x, "dense_norm")
    with g.scope("dense"):
        dense = mlp(g, inputs, spec.dense)
    routed_by = g.op("Mul", [norm(x, "router_norm"), g.scalar(size**-0.5)])
    experts = moe(g, norm(x, "experts_norm"), spec.experts, routed_by=routed_by)
    return g.op("Add", [norm(dense, "dense_output_norm"), norm(experts, "experts_output_norm")])
