"""The formats that checkpoints come in: which one a path holds, and what of it can be carried over."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.errors import CheckpointError
from genai.export.checkpoint.checkpoint import Checkpoint, StoredTensors, read_config
from genai.export.checkpoint.gguf.checkpoint import QUANT_METHOD, GgufCheckpoint
from genai.export.checkpoint.gguf.reader import read_gguf
from genai.export.checkpoint.gguf.text_files import text_files
from genai.export.checkpoint.quantized import QuantizedCheckpoint, read_format
from genai.export.checkpoint.safetensors import has_safetensors, open_safetensors
from genai.export.checkpoint.torch_files import has_torch_files, open_torch_files
from genai.folder import is_text_file
from genai.folder.gguf_files import gguf_file_of

__all__ = [
    "can_keep",
    "check_quantization",
    "decoded",
    "has_config_file",
    "open_checkpoint",
    "read_checkpoint_config",
    "write_text_files",
]


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
    if not _is_gguf(config):
        read_format(config)


def can_keep(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is quantized in a layout that ONNX Runtime's kernels hold, so that `keep` means something."""
    if _is_gguf(config):
        return True
    layout = read_format(config)
    return layout is not None and layout.can_be_kept


def _is_gguf(config: Mapping[str, Any]) -> bool:
    return (config.get("quantization_config") or {}).get("quant_method") == QUANT_METHOD


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
