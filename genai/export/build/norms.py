"""Normalizations, and the residual stream whose additions are fused into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.architecture import NormSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.lengths import keep_last
from genai.export.build.tensors import from_array
from genai.graph.operators import SKIP_LAYER_NORM, SKIP_RMS_NORM

__all__ = ["ResidualStream", "normalize"]


def normalize(g: GraphBuilder, x: ir.Value, name: str, spec: NormSpec, size: int) -> ir.Value:
    """Normalize the last axis, of this size, with the weights of the module `name`."""
    with g.scope(name):
        operands = [x, *_weights(g, spec, size)]
        if spec.kind != "rms":
            return g.op("LayerNormalization", operands, axis=-1, epsilon=spec.eps)
        if "RMSNormalization" in g.precision.form.without:  # ONNX Runtime's own, from before ONNX had one
            return g.op("SimplifiedLayerNormalization", operands, axis=-1, epsilon=spec.eps, stash_type=1)
        return g.op("RMSNormalization", operands, axis=-1, epsilon=spec.eps)


@dataclass(slots=True)
class ResidualStream:
    """The residual stream of a decoder: a value, and at most one addend that the next norm will add.

    Args:
        g: The graph.
        value: [batch_size, sequence_length, hidden_size].
        size: The last axis: hidden_size.
        addend: Not added yet, of the same shape.
    """

    g: GraphBuilder
    value: ir.Value
    size: int
    addend: ir.Value | None = None

    def add(self, addend: ir.Value) -> None:
        """Add a value to the stream."""
        self.read()
        self.addend = addend

    def replace(self, value: ir.Value) -> None:
        """Go on from another value."""
        self.value, self.addend = value, None

    def read(self) -> ir.Value:
        """Return the stream as it is."""
        if self.addend is not None:
            self.value, self.addend = self.g.op("Add", [self.value, self.addend]), None
        return self.value

    def scale(self, factor: ir.Value) -> None:
        """Multiply the stream by a factor of one element."""
        self.value = self.g.op("Mul", [self.read(), factor])

    def normalize(self, name: str, spec: NormSpec | None) -> ir.Value:
        """Return the stream, normalized with the weights of the module `name`; as it is without a norm."""
        if spec is None:
            return self.read()
        if self.addend is None:
            return normalize(self.g, self.value, name, spec, self.size)
        with self.g.scope(name):
            weights = _weights(self.g, spec, self.size)
            operator = SKIP_RMS_NORM if spec.kind == "rms" else SKIP_LAYER_NORM
            names = [self.g.path(operator.op_type), "", "", self.g.path("sum")]
            normalized, _, _, total = self.g.ops(
                operator.op_type,
                [self.value, self.addend, *weights],
                4,
                domain=operator.domain,
                names=names,
                epsilon=spec.eps,
            )
        self.value, self.addend = total, None
        return normalized

    def keep_last(self, count: ir.Value, length: ir.Value) -> None:
        """Drop all but the last positions from the stream.

        Args:
            count: How many to keep, int64 [1]; 0 keeps none.
            length: How many there are, int64 [1].
        """
        stream = [self.value] if self.addend is None else [self.value, self.addend]
        self.value, *addends = keep_last(self.g, stream, count, length)
        self.addend = addends[0] if addends else None


def _weights(g: GraphBuilder, spec: NormSpec, size: int) -> list[ir.Value]:
    """The weight of the norm in scope, with its offset, and the bias if it has one; ones where it has no weight."""
    dtype = g.precision.float_type
    stored = g.parameter("weight")[:].astype(np.float32) if spec.weight else np.ones(size, np.float32)
    values = [g.initializer("weight", from_array(stored + np.float32(spec.offset), dtype))]
    if spec.bias:
        values.append(g.initializer("bias", from_array(g.parameter("bias")[:], dtype)))
    return values
