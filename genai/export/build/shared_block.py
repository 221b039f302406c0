"""A block that several layers share: its initializers are in the graph once, its nodes for every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from genai.export.architecture import SharedBlockSpec
from genai.export.build.feed_forwards import feed_forward
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear
from genai.export.build.mixers import Mixed, mix
from genai.export.build.norms import normalize
from genai.export.build.positions import Positions

__all__ = ["shared_block"]

_Additions = dict[tuple[str, ...], Callable[[ir.Value], ir.Value]]


def shared_block(
    g: GraphBuilder,
    stream: ir.Value,
    embeddings: ir.Value,
    spec: SharedBlockSpec,
    past: Mapping[str, ir.Value],
    positions: Positions,
    *,
    size: int,
) -> Mixed:
    """Return what the layer in scope adds to what its mixer reads, and the block's states for this layer.

    Args:
        g: The graph.
        stream: [batch_size, sequence_length, size].
        embeddings: Of the same shape.
        spec: The block, and what the layer has beside it.
        past: The layer's states.
        positions: What all layers share.
        size: The stream's width.
    """
    with g.scope("shared"):
        with g.shared(spec.scope, _additions(g, spec)):
            x = g.op("Concat", [stream, embeddings], axis=-1)
            x = normalize(g, x, "input_norm", spec.norm, 2 * size)
            mixed = mix(g, x, spec.attention, past, positions)
            x = normalize(g, mixed.output, "mlp_norm", spec.norm, size)
            x = feed_forward(g, x, spec.mlp)
        return Mixed(linear(g, x, "output"), mixed.present)


def _additions(g: GraphBuilder, spec: SharedBlockSpec) -> _Additions:
    """What the layer in scope adds to the block's products, by the modules that are multiplied together."""
    scope = g.scopes

    def low_rank(*names: str) -> Callable[[ir.Value], ir.Value]:
        def product(x: ir.Value) -> ir.Value:
            with g.within(*scope):
                parts = [linear(g, linear(g, x, f"{name}.lora_A"), f"{name}.lora_B") for name in names]
                return parts[0] if len(parts) == 1 else g.op("Concat", parts, axis=-1)

        return product

    mlp, attention = f"{spec.scope}.{spec.mlp.scope}", f"{spec.scope}.{spec.attention.scope}"
    additions: _Additions = {(f"{mlp}.gate", f"{mlp}.up"): low_rank("gate_up")}
    if spec.adapts_attention:
        modules = tuple(spec.attention.projections)
        additions[tuple(f"{attention}.{module}" for module in modules)] = low_rank(*modules)
    return additions
