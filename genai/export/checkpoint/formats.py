"""The formats that checkpoints come in: which one a path holds, and what of it can be carried over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.export.checkpoint.checkpoint import Checkpoint
from genai.export.checkpoint.safetensors import SafetensorsCheckpoint

__all__ = ["can_keep", "open_checkpoint"]


def open_checkpoint(path: Path, config: Mapping[str, Any]) -> Checkpoint:
    """Open the checkpoint at a path, whose config was read already.

    Raises:
        CheckpointError: A file is missing, truncated or malformed.
    """
    return SafetensorsCheckpoint.open(path, config=config)


def can_keep(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is quantized in a layout that ONNX Runtime's kernels hold, so that `keep` means something."""
    del config
    return False
