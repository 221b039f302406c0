"""The formats that checkpoints come in: which one a path holds, and what of it can be carried over."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.export.checkpoint.checkpoint import Checkpoint, read_config
from genai.export.checkpoint.gguf.checkpoint import QUANT_METHOD, GgufCheckpoint
from genai.export.checkpoint.gguf.reader import read_gguf
from genai.export.checkpoint.gguf.text_files import text_files
from genai.export.checkpoint.safetensors import SafetensorsCheckpoint
from genai.folder import is_text_file
from genai.folder.gguf_files import gguf_file_of

__all__ = ["can_keep", "has_config_file", "open_checkpoint", "read_checkpoint_config", "write_text_files"]


def read_checkpoint_config(path: Path) -> Mapping[str, Any]:
    """Return the config.json of the checkpoint at a path: its own, or what a GGUF file's metadata amount to.

    Raises:
        CheckpointError: It is missing or malformed, or there is no checkpoint.
        UnsupportedModelError: A GGUF file is of an architecture that is not known.
    """
    file = gguf_file_of(path)
    return read_config(path) if file is None else GgufCheckpoint.open(file).config


def open_checkpoint(path: Path, config: Mapping[str, Any]) -> Checkpoint:
    """Open the checkpoint at a path, whose config was read already.

    Raises:
        CheckpointError: A file is missing, truncated or malformed.
    """
    if (file := gguf_file_of(path)) is not None:
        return GgufCheckpoint.open(file)
    return SafetensorsCheckpoint.open(path, config=config)


def can_keep(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is quantized in a layout that ONNX Runtime's kernels hold, so that `keep` means something."""
    return (config.get("quantization_config") or {}).get("quant_method") in (QUANT_METHOD,)


def has_config_file(path: Path) -> bool:
    """Whether a checkpoint has a config.json, which transformers can read too."""
    return gguf_file_of(path) is None


def write_text_files(path: Path, folder: Path) -> list[str]:
    """Put the files that describe text and generation into a folder, as far as a checkpoint has them; return their names.

    Raises:
        CheckpointError: The tokenizer in a GGUF file is incomplete.
        UnsupportedModelError: It is of a kind that is not known.
    """
    if (file := gguf_file_of(path)) is None:
        return _copy_text_files(path, folder)
    written = text_files(read_gguf(file).metadata)
    for name, content in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return list(written)


def _copy_text_files(checkpoint: Path, folder: Path) -> list[str]:
    files = [path for pattern in ("*", "*/*") for path in checkpoint.glob(pattern) if path.is_file()]
    names = [path.relative_to(checkpoint).as_posix() for path in files]
    copied = [name for name in names if is_text_file(name)]
    for name in copied:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(checkpoint / name, folder / name)
    return copied
