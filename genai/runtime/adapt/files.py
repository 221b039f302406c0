"""Reading an ONNX file, its weights left where they are."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from genai.errors import ModelFolderError

__all__ = ["read_model"]


def read_model(path: Path) -> ModelProto:
    """Read an ONNX file without its external weights.

    Raises:
        ModelFolderError: The file is not an ONNX model.
    """
    try:
        return onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelFolderError(
            f"{path}: cannot be read as an ONNX model ({error}); export it again"
        ) from error
