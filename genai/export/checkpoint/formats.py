"""The formats that checkpoints come in: which one a path holds, and what of it can be carried over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import Checkpoint, StoredTensors
from genai.export.checkpoint.quantized import QuantizedCheckpoint, read_format
from genai.export.checkpoint.safetensors import has_safetensors, open_safetensors
from genai.export.checkpoint.torch_files import has_torch_files, open_torch_files

__all__ = ["can_keep", "check_quantization", "decoded", "open_checkpoint"]


def open_checkpoint(path: Path, config: Mapping[str, Any]) -> Checkpoint:
    """Open the checkpoint at a path, whose config was read already.

    Raises:
        CheckpointError: A file is missing, truncated or malformed.
    """
    if has_safetensors(path):
        return decoded(open_safetensors(path, config))
    if has_torch_files(path):
        return decoded(open_torch_files(path, config))
    other = sorted(file.name for pattern in ("*.bin", "*.pth", "*.gguf") for file in path.glob(pattern))
    found = f"; found only {', '.join(other[:3])}, which are not read" if other else ""
    raise CheckpointError(f"{path}: no safetensors file, and no pytorch_model.bin{found}")


def decoded(stored: StoredTensors) -> Checkpoint:
    """Return a checkpoint whose quantized matrices, if its config names a quantization, are views of their rows.

    Raises:
        UnsupportedModelError: The quantization is not supported.
    """
    layout = read_format(stored.config)
    return stored if layout is None else QuantizedCheckpoint(stored, layout)


def check_quantization(config: Mapping[str, Any]) -> None:
    """See that config.json names no quantization that cannot be read.

    Raises:
        UnsupportedModelError: It does.
        CheckpointError: A value is missing or malformed.
    """
    read_format(config)


def can_keep(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is quantized in a layout that ONNX Runtime's kernels hold, so that `keep` means something."""
    layout = read_format(config)
    return layout is not None and layout.can_be_kept
