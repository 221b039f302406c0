"""Weights beside a graph in one file or several, as exporters name them."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data


def save_with_external_data(model: onnx.ModelProto, path: Path, *, num_files: int = 1) -> list[Path]:
    """Write a graph, and its weights in turn to `<graph>_data`, `<graph>_data_1`, ...; return those files."""
    names = [f"{path.name}_data" + (f"_{i}" if i else "") for i in range(num_files)]
    contents = [bytearray() for _ in names]
    for i, tensor in enumerate(tensor for tensor in model.graph.initializer if tensor.HasField("raw_data")):
        if len(tensor.raw_data) < 64:
            continue  # exporters keep shapes and other small operands in the graph
        content = contents[i % num_files]
        set_external_data(tensor, names[i % num_files], offset=len(content), length=len(tensor.raw_data))
        content.extend(tensor.raw_data)
        tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    files = [path.parent / name for name in names]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    return files
