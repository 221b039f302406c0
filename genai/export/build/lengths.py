"""How long the rows of a run are, the positions of their new tokens, and which of these reach the head.

The values named `seqlens_k`, `total_sequence_length` and `position_ids` are part of the graph contract: the runtime may
feed them directly instead, and nothing else may hang on the nodes that derive them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from genai.export.build.emitter import Emitter
from genai.graph.names import NUM_LOGITS_TO_KEEP, POSITION_IDS, SEQLENS_K, TOTAL_SEQUENCE_LENGTH

__all__ = [
    "Lengths",
    "keep_last",
    "make_lengths",
    "make_num_logits_to_keep",
    "make_position_ids",
    "make_sequence_length",
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


def make_sequence_length(e: Emitter, input_ids: ir.Value) -> ir.Value:
    """Return the number of new positions per row, int64 [1], of token ids [batch_size, sequence_length]."""
    return e.op("Shape", [input_ids], start=1, end=2)


def make_lengths(e: Emitter, input_ids: ir.Value, attention_mask: ir.Value) -> Lengths:
    """Derive the lengths from the mask's row sums and the inputs' shapes."""
    row_lengths = e.op("ReduceSum", [attention_mask, e.integers(1)], keepdims=0)
    last_positions = e.op("Sub", [row_lengths, e.integers(1)])
    shape = e.op("Shape", [attention_mask])
    longest = e.op("Gather", [shape, e.constant(np.asarray(1, np.int64))], axis=0)
    return Lengths(
        seqlens_k=e.op("Cast", [last_positions], to=ir.DataType.INT32, name=SEQLENS_K),
        total_sequence_length=e.op("Cast", [longest], to=ir.DataType.INT32, name=TOTAL_SEQUENCE_LENGTH),
        sequence_length=make_sequence_length(e, input_ids),
    )


def make_position_ids(e: Emitter, lengths: Lengths, *, switch_length: int | None = None) -> ir.Value:
    """Derive the position of every new token: int64 [batch_size, sequence_length].

    A row's new tokens follow its past. In a prompt padded on the right, a row's length is less than the new
    positions: it has no past, and the padding's positions do not matter.

    Args:
        e: The graph.
        lengths: The lengths.
        switch_length: Rows longer than this read the second part of the rotary tables, which starts there.
    """
    row_lengths = e.op("Add", [e.op("Cast", [lengths.seqlens_k], to=ir.DataType.INT64), e.integers(1)])
    past = e.op("Max", [e.op("Sub", [row_lengths, lengths.sequence_length]), e.integers(0)])
    if switch_length is not None:
        is_long = e.op("Greater", [row_lengths, e.integers(switch_length)])
        offset = e.op("Mul", [e.op("Cast", [is_long], to=ir.DataType.INT64), e.integers(switch_length)])
        past = e.op("Add", [past, offset])
    zero, one = e.constant(np.asarray(0, np.int64)), e.constant(np.asarray(1, np.int64))
    count = e.op("Squeeze", [lengths.sequence_length, e.integers(0)])
    steps = e.op("Range", [zero, count, one])
    return e.op("Add", [e.op("Unsqueeze", [past, e.integers(1)]), steps], name=POSITION_IDS)


def make_num_logits_to_keep(e: Emitter) -> ir.Value:
    """Add the input that says of how many of the last positions there are logits: int64 [1], 1 by default."""
    return e.overridable_input(NUM_LOGITS_TO_KEEP, np.asarray([1], np.int64))


def keep_last(
    e: Emitter, values: Sequence[ir.Value], count: ir.Value, sequence_length: ir.Value
) -> list[ir.Value]:
    """Drop all but the last positions.

    Args:
        e: The graph.
        values: Each [batch_size, sequence_length, ...].
        count: How many to keep, int64 [1]; 0 keeps none.
        sequence_length: How many there are, int64 [1].
    """
    # Not a negative index: of no positions, it would be all of them.
    start = e.op("Sub", [sequence_length, count])
    return [e.op("Slice", [value, start, sequence_length, e.integers(1)]) for value in values]
