"""Shorter rotary tables, in graphs that compute them when they are loaded."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, numpy_helper

from genai.graph.names import NUM_ROTARY_POSITIONS

__all__ = ["limit_rotary_tables"]


def limit_rotary_tables(graph: GraphProto, num_positions: int) -> None:
    """Let a graph compute its tables for sequences of at most so many positions; others are left as they are."""
    for tensor in graph.initializer:
        if tensor.name == NUM_ROTARY_POSITIONS:
            length = int(numpy_helper.to_array(tensor))
            shorter = np.asarray(min(length, num_positions), np.int64)
            tensor.CopyFrom(numpy_helper.from_array(shorter, tensor.name))
