"""What the axes of a decoder's inputs and outputs are called, and the shapes that they are declared with.

A name is an axis that varies, a number one that does not.
"""

from __future__ import annotations

from collections.abc import Mapping

from genai.graph.names import (
    ATTENTION_MASK,
    INPUT_IDS,
    POSITION_IDS,
    SEQLENS_K,
    TOTAL_SEQUENCE_LENGTH,
)

__all__ = [
    "BATCH_SIZE",
    "INPUT_SHAPES",
    "PAST_LENGTH",
    "SEQUENCE_LENGTH",
    "TOTAL_LENGTH",
    "logits_shape",
    "past_shape",
    "present_shape",
]

BATCH_SIZE = "batch_size"
SEQUENCE_LENGTH = "sequence_length"
PAST_LENGTH = "past_sequence_length"
TOTAL_LENGTH = "total_sequence_length"

INPUT_SHAPES: Mapping[str, tuple[str, ...]] = {
    INPUT_IDS: (BATCH_SIZE, SEQUENCE_LENGTH),
    ATTENTION_MASK: (BATCH_SIZE, TOTAL_LENGTH),
    POSITION_IDS: (BATCH_SIZE, SEQUENCE_LENGTH),
    SEQLENS_K: (BATCH_SIZE,),
    TOTAL_SEQUENCE_LENGTH: (),
}
"""The shapes of inputs, and of the derived values that may become inputs."""


def past_shape(num_kv_heads: int | str, head_dim: int | str) -> tuple[int | str, ...]:
    """Return the shape of keys or values before the step."""
    return BATCH_SIZE, num_kv_heads, PAST_LENGTH, head_dim


def present_shape(num_kv_heads: int | str, head_dim: int | str) -> tuple[int | str, ...]:
    """Return the shape of keys or values after the step."""
    return BATCH_SIZE, num_kv_heads, TOTAL_LENGTH, head_dim


def logits_shape(vocab_size: int | str) -> tuple[int | str, ...]:
    """Return the shape of the logits.

    The axis of positions is declared with num_logits_to_keep's default: onnxruntime-genai takes the 1 as the sign that
    a prompt has logits for its last position only. Who overrides the input renames the axis first.
    """
    return BATCH_SIZE, 1, vocab_size
