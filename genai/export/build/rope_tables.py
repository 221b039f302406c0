"""Tables of rotary cosines and sines, computed while they are written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.architecture.rope import RopeSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.tensors import LazyTensor
from genai.export.checkpoint.checkpoint import Array

__all__ = ["RopeTable", "make_rope_table"]


@dataclass(frozen=True, slots=True)
class RopeTable:
    """Cosines and sines, [rows, dim / 2] each, in the graph's float type."""

    cos: ir.Value
    sin: ir.Value


def make_rope_table(g: GraphBuilder, rope: RopeSpec, name: str, num_positions: int) -> RopeTable:
    """Store the cosines and sines for positions [0, num_positions)."""
    shape = (rope.num_rows(num_positions), rope.dim // 2)
    magnitude = np.float32(rope.magnitude)

    def read_cos(start: int, stop: int) -> Array:
        return _cast(g, np.cos(rope.angles(start, stop)) * magnitude)

    def read_sin(start: int, stop: int) -> Array:
        return _cast(g, np.sin(rope.angles(start, stop)) * magnitude)

    with g.scope(name):
        dtype = g.precision.float_type
        return RopeTable(
            cos=g.initializer("cos", LazyTensor(dtype, shape, read_cos)),
            sin=g.initializer("sin", LazyTensor(dtype, shape, read_sin)),
        )


def _cast(g: GraphBuilder, values: Array) -> Array:
    return values.astype(g.precision.float_type.numpy())
