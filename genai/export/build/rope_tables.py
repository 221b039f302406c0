"""Tables of rotary cosines and sines: computed by the graph when it is loaded, or stored where no formula gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.architecture.rope import RopeSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.tensors import LazyTensor, from_array
from genai.export.checkpoint.checkpoint import Array
from genai.graph.names import NUM_ROTARY_POSITIONS

__all__ = ["RopeTable", "make_rope_table"]


@dataclass(frozen=True, slots=True)
class RopeTable:
    """Cosines and sines, [rows, dim / 2] each, in the graph's float type."""

    cos: ir.Value
    sin: ir.Value


def make_rope_table(g: GraphBuilder, rope: RopeSpec, name: str, num_positions: int) -> RopeTable:
    """Make the cosines and sines for positions [0, num_positions).

    ONNX Runtime computes once, when it loads a graph, what depends on constants alone: of the tables only the
    frequencies are stored, and whoever loads the graph for a shorter context makes them shorter. Two sets of rows in
    one table (longrope) are stored.
    """
    with g.scope(name):
        return (
            _computed(g, rope, num_positions)
            if rope.switch_length is None
            else _stored(g, rope, num_positions)
        )


def _computed(g: GraphBuilder, rope: RopeSpec, num_positions: int) -> RopeTable:
    frequencies = g.initializer("frequencies", from_array(rope.angles(1, 2)[0], ir.DataType.FLOAT))
    length = g.constant(np.asarray(num_positions, np.int64), name=NUM_ROTARY_POSITIONS)
    start, step = (g.constant(np.asarray(value, np.int64)) for value in (0, 1))
    positions = g.op("Cast", [g.op("Range", [start, length, step])], to=ir.DataType.FLOAT)
    angles = g.op("Mul", [g.op("Unsqueeze", [positions, g.integers(1)]), frequencies])

    def table(function: str) -> ir.Value:
        values = g.op(function, [angles])
        if rope.magnitude != 1.0:
            values = g.op("Mul", [values, g.float32(rope.magnitude)])
        float_type = g.precision.float_type
        return values if float_type == ir.DataType.FLOAT else g.op("Cast", [values], to=float_type)

    return RopeTable(cos=table("Cos"), sin=table("Sin"))


def _stored(g: GraphBuilder, rope: RopeSpec, num_positions: int) -> RopeTable:
    dtype, shape = g.precision.float_type, (rope.num_rows(num_positions), rope.dim // 2)
    magnitude = np.float32(rope.magnitude)

    def read_cos(start: int, stop: int) -> Array:
        return (np.cos(rope.angles(start, stop)) * magnitude).astype(dtype.numpy())

    def read_sin(start: int, stop: int) -> Array:
        return (np.sin(rope.angles(start, stop)) * magnitude).astype(dtype.numpy())

    return RopeTable(
        cos=g.initializer("cos", LazyTensor(dtype, shape, read_cos)),
        sin=g.initializer("sin", LazyTensor(dtype, shape, read_sin)),
    )
