"""Where a graph's external weights really lie: ONNX Runtime refuses a file that is a link out of the model's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, StringStringEntryProto, TensorProto, helper, numpy_helper

from genai.errors import ModelFolderError
from genai.runtime.adapt.graph import subgraphs_of

__all__ = ["external_locations", "locate_weights", "read_values"]


def locate_weights(model: ModelProto, folder: Path) -> Path:
    """Return the folder that the names of a model's weights count from, after changing them if they are links.

    In the Hugging Face cache every file is a link to one that is named by its content and lies elsewhere.

    Args:
        model: The model; changed in place.
        folder: The folder that the names count from as they are.

    Raises:
        ModelFolderError: A file is missing, or named outside the folder.
    """
    folder = folder.resolve()
    locations = list(external_locations(model.graph))
    files = {name: _file(folder, name) for name in {entry.value for entry in locations}}
    if all(file.is_relative_to(folder) for file in files.values()):
        return folder
    root = Path(os.path.commonpath([file.parent for file in files.values()]))
    for entry in locations:
        entry.value = files[entry.value].relative_to(root).as_posix()
    return root


def _file(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ModelFolderError(
            f"{folder}: the graph names weights outside the folder, {name}; export it again"
        )
    if not (folder / name).is_file():
        raise ModelFolderError(
            f"{folder}: {name}, which holds the graph's weights, is missing; fetch the model again"
        )
    return (folder / name).resolve()


def external_locations(graph: GraphProto) -> Iterator[StringStringEntryProto]:
    """Yield the entries that name a file of weights, those of subgraphs and constants included."""
    tensors = list(graph.initializer)
    for node in graph.node:
        tensors.extend(attribute.t for attribute in node.attribute if attribute.HasField("t"))
        for subgraph in subgraphs_of(node):
            yield from external_locations(subgraph)
    for tensor in tensors:
        if tensor.data_location == TensorProto.EXTERNAL:
            yield from (entry for entry in tensor.external_data if entry.key == "location")


def read_values(tensor: TensorProto, weights: Path) -> npt.NDArray[Any]:
    """Return an initializer's values; those in a file stay there.

    Args:
        tensor: The initializer.
        weights: The folder that the name of its file counts from.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is too short.
    """
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.memmap(
        weights / entries["location"], dtype, "r", int(entries.get("offset", 0)), tuple(tensor.dims)
    )
