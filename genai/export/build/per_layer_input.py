"""Embeddings of the tokens that each layer has for itself."""

from __future__ import annotations

import math

import onnx_ir as ir

from genai.export.architecture import DecoderSpec, PerLayerInputSpec
from genai.export.build.activations import activate
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear, look_up, table
from genai.export.build.norms import normalize

__all__ = ["layer_input", "per_layer_inputs"]


def per_layer_inputs(
    g: GraphBuilder, spec: DecoderSpec, input_ids: ir.Value, hidden: ir.Value
) -> list[ir.Value]:
    """Return each layer's input, [batch_size, sequence_length, size]; none if the layers have none.

    Args:
        g: The graph.
        spec: The decoder.
        input_ids: int64 [batch_size, sequence_length].
        hidden: The embeddings, [batch_size, sequence_length, hidden_size].
    """
    inputs = spec.per_layer_input
    if inputs is None:
        return []
    num_layers = len(spec.layers)
    with g.scope("per_layer_input"):
        ids = input_ids
        if inputs.vocab_size < spec.vocab_size:
            is_known = g.op("Less", [input_ids, g.integers(inputs.vocab_size)])
            ids = g.op("Where", [is_known, input_ids, g.integers(0)])
        looked_up = g.op("Mul", [look_up(g, table(g, "embedding"), ids), g.scalar(math.sqrt(inputs.size))])
        projected = g.op("Mul", [linear(g, hidden, "projection"), g.scalar(spec.hidden_size**-0.5)])
        by_layer = g.op("Reshape", [projected, g.integers(0, 0, num_layers, inputs.size)])
        normalized = normalize(g, by_layer, "norm", inputs.norm, inputs.size)
        total = g.op("Add", [g.op("Reshape", [normalized, g.integers(0, 0, -1)]), looked_up])
        total = g.op("Mul", [total, g.scalar(math.sqrt(0.5))])
        return g.ops("Split", [total, g.integers(*[inputs.size] * num_layers)], num_layers, axis=-1)


def layer_input(
    g: GraphBuilder, x: ir.Value, spec: PerLayerInputSpec, value: ir.Value, *, size: int
) -> ir.Value:
    """Return norm(projection(act(gate(x)) * value)): what a layer adds for its own input of the tokens.

    Args:
        g: The graph.
        x: What the layer has computed, [batch_size, sequence_length, size].
        spec: The inputs.
        value: The layer's input, [batch_size, sequence_length, spec.size].
        size: hidden_size.
    """
    with g.scope("layer_input"):
        gate = activate(g, linear(g, x, "gate"), spec.activation)
        projected = linear(g, g.op("Mul", [gate, value]), "projection")
        return normalize(g, projected, "norm", spec.norm, size)
