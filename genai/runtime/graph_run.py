"""Running an ONNX file that is no decoder: arrays in, arrays out, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from genai.errors import GenerationError
from genai.runtime.ort import ORT_ERRORS, onnxruntime

__all__ = ["GraphRun", "open_graph"]

GraphRun = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]
"""From inputs to outputs, both by name."""

RUN_ERRORS: tuple[type[Exception], ...] = (RuntimeError, *ORT_ERRORS)


def open_graph(path: Path) -> GraphRun:
    """Return what runs a graph; its weights are read from beside it.

    Raises:
        GenerationError: ONNX Runtime cannot load it, or, later, failed to run it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and reported once
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except RUN_ERRORS as error:
        raise GenerationError(f"ONNX Runtime cannot load {path}: {error}") from error
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        try:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))
        except RUN_ERRORS as error:
            raise GenerationError(f"ONNX Runtime failed to run {path}: {error}") from error

    return run
