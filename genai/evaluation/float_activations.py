"""A folder whose products take activations as floats, so that two ways of running it can be compared closely.

Where products round what they multiply to 8 bits (`accuracy_level` 4), the last bit of a float, in which ways of running
may differ, decides now and then on a whole step of a code. On floats they differ by float error alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

from genai.evaluation.graphs import INT8_ACTIVATIONS, FolderGraphs, nodes_of
from genai.folder import ModelFolder

__all__ = ["float_activations"]

FLOAT_ACTIVATIONS = 1


@contextlib.contextmanager
def float_activations(folder: ModelFolder, graphs: FolderGraphs) -> Iterator[ModelFolder]:
    """Yield a copy of a folder whose graphs do not round activations; its other files are links to the folder's.

    Args:
        folder: The folder.
        graphs: Its graphs; they stay as they are.

    Raises:
        OSError: No links can be made, or nothing can be written, where temporary files go.
    """
    with tempfile.TemporaryDirectory(prefix="genai-validate-") as temporary:
        place = Path(temporary)
        for file in folder.path.rglob("*"):
            if file.is_file() and file not in graphs.models:
                link = place / file.relative_to(folder.path)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
        for path, model in graphs.models.items():
            copy = place / path.relative_to(folder.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            onnx.save(_without_rounding(model), copy)
        yield dataclasses.replace(folder, path=place)


def _without_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in nodes_of(changed.graph):
        for attribute in node.attribute:
            if attribute.name == "accuracy_level" and attribute.i == INT8_ACTIVATIONS:
                attribute.i = FLOAT_ACTIVATIONS
    return changed
