"""What all layers share: how long the rows are, where their new tokens stand, rotary tables, biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from genai.export.architecture import AlibiSpec
from genai.export.architecture.rope import RopeSpec
from genai.export.build.lengths import Lengths
from genai.export.build.rope_tables import RopeTable

__all__ = ["Positions"]


@dataclass(frozen=True, slots=True)
class Positions:
    """What the layers share.

    Args:
        lengths: How long the sequences are.
        position_ids: int64 [batch_size, sequence_length]; only where something needs them.
        tables: The rotary tables.
        alibis: What linear biases add to the scores: [1, num_heads, sequence_length, total_sequence_length].
        chunks: What hides earlier chunks, by their size: [batch_size, 1, sequence_length, total_sequence_length].
    """

    lengths: Lengths
    position_ids: ir.Value | None
    tables: Mapping[RopeSpec, RopeTable]
    alibis: Mapping[AlibiSpec, ir.Value]
    chunks: Mapping[int, ir.Value]
