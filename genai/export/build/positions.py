"""Lengths and positions that all layers share, derived from the attention mask, and the rotary tables.

The values named `seqlens_k`, `total_sequence_length` and `position_ids` are a contract with the runtime, which may
feed them directly instead: nothing else may hang on the nodes that derive them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from genai.export.architecture import AlibiSpec
from genai.export.architecture.rope import RopeSpec
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.tensors import LazyTensor
from genai.export.checkpoint.checkpoint import Array

__all__ = [
    "Lengths",
    "Positions",
    "RopeTable",
    "make_alibi",
    "make_lengths",
    "make_position_ids",
    "make_rope_table",
]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the sequences are.

    Args:
        seqlens_k: int32 [batch_size], each row's length, past included, minus 1.
        total_sequence_length: int32 [], the longest row's length, past included.
        sequence_length: int64 [1], the number of new positions per row.
    """

    seqlens_k: ir.Value
    total_sequence_length: ir.Value
    sequence_length: ir.Value


@dataclass(frozen=True, slots=True)
class RopeTable:
    """Cosines and sines, [rows, dim / 2] each, in the graph's float type."""

    cos: ir.Value
    sin: ir.Value


@dataclass(frozen=True, slots=True)
class Positions:
    """What the layers share.

    Args:
        lengths: How long the sequences are.
        position_ids: int64 [batch_size, sequence_length]; only where something needs them.
        tables: The rotary tables.
        alibis: What linear biases add to the scores: [1, num_heads, sequence_length, total_sequence_length].
    """

    lengths: Lengths
    position_ids: ir.Value | None
    tables: Mapping[RopeSpec, RopeTable]
    alibis: Mapping[AlibiSpec, ir.Value]


def make_lengths(g: GraphBuilder, input_ids: ir.Value, attention_mask: ir.Value) -> Lengths:
    """Derive the lengths from the mask's row sums and the inputs' shapes."""
    with g.scope("lengths"):
        row_lengths = g.op("ReduceSum", [attention_mask, g.integers(1)], keepdims=0)
        last_positions = g.op("Sub", [row_lengths, g.integers(1)])
        shape = g.op("Shape", [attention_mask])
        longest = g.op("Gather", [shape, g.constant(np.asarray(1, np.int64))], axis=0)
        return Lengths(
            seqlens_k=g.op("Cast", [last_positions], to=ir.DataType.INT32, name="seqlens_k"),
            total_sequence_length=g.op("Cast", [longest], to=ir.DataType.INT32, name="total_sequence_length"),
            sequence_length=g.op("Shape", [input_ids], start=1, end=2),
        )


def make_position_ids(g: GraphBuilder, lengths: Lengths, switch_length: int | None) -> ir.Value:
    """Derive the position of every new token: int64 [batch_size, sequence_length].

    A row's new tokens follow its past. In a prompt padded on the right, a row's length is less than the new
    positions: it has no past, and the padding's positions do not matter.

    Args:
        g: The graph.
        lengths: The lengths.
        switch_length: Rows longer than this read the second part of the rotary tables, which starts there.
    """
    with g.scope("positions"):
        row_lengths = g.op("Add", [g.op("Cast", [lengths.seqlens_k], to=ir.DataType.INT64), g.integers(1)])
        past = g.op("Max", [g.op("Sub", [row_lengths, lengths.sequence_length]), g.integers(0)])
        if switch_length is not None:
            is_long = g.op("Greater", [row_lengths, g.integers(switch_length)])
            past = g.op(
                "Add",
                [
                    past,
                    g.op("Mul", [g.op("Cast", [is_long], to=ir.DataType.INT64), g.integers(switch_length)]),
                ],
            )
        zero, one = g.constant(np.asarray(0, np.int64)), g.constant(np.asarray(1, np.int64))
        count = g.op("Squeeze", [lengths.sequence_length, g.integers(0)])
        steps = g.op("Range", [zero, count, one])
        return g.op("Add", [g.op("Unsqueeze", [past, g.integers(1)]), steps], name="position_ids")


def make_alibi(g: GraphBuilder, lengths: Lengths, alibi: AlibiSpec) -> ir.Value:
    """Derive what linear biases add to the scores: each head's slope times the key's position.

    Counting from the query instead, as the paper does, would shift all scores of a query alike.

    Returns:
        [1, num_heads, sequence_length, total_sequence_length].
    """
    with g.scope("alibi"):
        total = g.op("Cast", [lengths.total_sequence_length], to=ir.DataType.FLOAT)
        keys = g.op("Range", [g.float32(0.0), total, g.float32(1.0)])
        slopes = np.asarray(alibi.slopes, ml_dtypes.bfloat16 if alibi.is_bfloat16 else np.float32)
        biases = g.op("Mul", [g.constant(slopes.astype(np.float32).reshape(1, -1, 1, 1)), keys])
        if alibi.is_bfloat16:
            rounded = g.op("Cast", [biases], to=ir.DataType.BFLOAT16)
            biases = g.op("Cast", [rounded], to=ir.DataType.FLOAT)
        if alibi.factor != 1.0:
            biases = g.op("Mul", [biases, g.float32(alibi.factor)])
        if g.precision.float_type != ir.DataType.FLOAT:
            biases = g.op("Cast", [biases], to=g.precision.float_type)
        shape = g.op("Concat", [g.integers(1, 1), lengths.sequence_length, g.integers(1)], axis=0)
        return g.op("Expand", [biases, shape])


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
