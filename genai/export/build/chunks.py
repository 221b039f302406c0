"""Attention that is confined to chunks of positions (Llama 4): what hides the chunks before a token's own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from genai.export.build.emitter import Emitter
from genai.export.build.lengths import Lengths

__all__ = ["make_chunk_mask"]

INT32 = ir.DataType.INT32
HIDDEN_SCORE = -65504.0  # far below any score, and the least number of half precision


def make_chunk_mask(
    e: Emitter,
    lengths: Lengths,
    position_ids: ir.Value,
    chunk: int,
    *,
    float_type: ir.DataType = ir.DataType.FLOAT,
) -> ir.Value:
    """Derive what is added to the scores of keys in chunks before the query's; the kernel itself hides later keys.

    Args:
        e: The graph.
        lengths: How long the sequences are.
        position_ids: int64 [batch_size, sequence_length].
        chunk: Positions in a chunk.
        float_type: Of the scores.

    Returns:
        `float_type` [batch_size, 1, sequence_length, total_sequence_length].
    """
    size, zero, one = (e.constant(np.asarray(value, np.int32)) for value in (chunk, 0, 1))
    keys = e.op("Div", [e.op("Range", [zero, lengths.total_sequence_length, one]), size])
    queries = e.op("Div", [e.op("Cast", [position_ids], to=INT32), size])
    is_earlier = e.op("Less", [keys, e.op("Unsqueeze", [queries, e.integers(1, 3)])])
    hidden, seen = (e.constant(np.asarray(value, float_type.numpy())) for value in (HIDDEN_SCORE, 0.0))
    return e.op("Where", [is_earlier, hidden, seen])
