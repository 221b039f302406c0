"""A folder's graph as it is run, with the place of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from onnx import ModelProto

from genai.folder import ModelFolder, StageConfig
from genai.runtime.adapt import GraphFacts, adapt_model, join_stages, locate_weights, read_model

__all__ = ["AdaptedGraph"]


@dataclass(frozen=True, slots=True)
class AdaptedGraph:
    """A graph as it is run.

    Args:
        model: The graph.
        facts: What was found.
        weights: The folder that the names of its weights count from.
    """

    model: ModelProto
    facts: GraphFacts
    weights: Path

    @classmethod
    def of_folder(cls, folder: ModelFolder, stages: Sequence[StageConfig], max_context: int | None) -> Self:
        """Read a folder's graph, and adapt it for everything.

        Raises:
            ModelFolderError: It cannot be read.
        """
        if stages:
            model = join_stages([(stage, read_model(folder.path / stage.filename)) for stage in stages])
        else:
            model = read_model(folder.model_path)
        facts = adapt_model(model, folder.decoder.names, max_context=max_context)
        weights = locate_weights(model, folder.path if stages else folder.model_path.parent)
        return cls(model, facts, weights)
