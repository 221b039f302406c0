"""What a caller can ask for: options of a generation, chat messages and settings of an export, as frozen values.

Nothing here knows a model, a tokenizer or a device; a check that needs one of them happens where it is known.
"""

from __future__ import annotations

from genai.config.export import (
    CALIBRATED_METHODS,
    EXPORT_VERSION,
    KV_PRECISIONS,
    PRECISIONS,
    QUANTIZE_METHODS,
    VIAS,
    ExportOptions,
    ExportSettings,
    check_block_size,
)
from genai.config.generation import GenerationConfig, GenerationOptions
from genai.config.message import Message

__all__ = [
    "CALIBRATED_METHODS",
    "EXPORT_VERSION",
    "KV_PRECISIONS",
    "PRECISIONS",
    "QUANTIZE_METHODS",
    "VIAS",
    "ExportOptions",
    "ExportSettings",
    "GenerationConfig",
    "GenerationOptions",
    "Message",
    "check_block_size",
]
