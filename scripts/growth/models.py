"""The models that are measured: Qwen2.5-0.5B's shape with random weights, in several numbers of layers, at int4."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from peers.sources import SHAPES, made_once, make_random

from genai.export import export_model

__all__ = ["LAYERS", "MAX_CONTEXT", "make_models"]

SHAPE = "qwen2.5-0.5b"
LAYERS = (24, 6, 12, 48)
"""Numbers of layers, the shape's own first."""
MAX_CONTEXT = 36864
"""Room for new tokens behind 32k."""


def make_models(work: Path, layers: Sequence[int]) -> list[Path]:
    """Return a folder for each number of layers; those that are not there are made, and their checkpoints removed."""
    return [
        made_once(work / f"{SHAPE}-{count}-layers", lambda target, count=count: _make(target, count))
        / "model"
        for count in layers
    ]


def _make(target: Path, num_layers: int) -> None:
    config = SHAPES[SHAPE].config
    assert config is not None
    sizes = {"num_hidden_layers": num_layers, "max_position_embeddings": MAX_CONTEXT}
    checkpoint = target / "checkpoint"
    make_random({**config, **sizes}, checkpoint)
    export_model(checkpoint, target / "model", precision="int4")
    shutil.rmtree(checkpoint)
