"""A worker whose engine is made up: its model is a file that says how it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class FakeTool:
    """The option of a conversion is `fate`: "well", or the job that it dies at."""

    __version__ = "1.0"

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        if options["fate"] == "convert":
            raise ValueError("this model cannot be converted")
        (Path(target) / "fate").write_text(options["fate"])

    def load(self, model: str, *, threads: int, max_tokens: int) -> FakeEngine:
        sys.stdout.write("engines print what they like\n")
        sys.stdout.flush()
        return FakeEngine((Path(model) / "fate").read_text())

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        return [float(len(text)) for text in texts]


class FakeEngine:
    def __init__(self, fate: str) -> None:
        self._fate = fate

    def generate(self, prompts: np.ndarray, new_tokens: int) -> SimpleNamespace:
        if self._fate == "generate" and len(prompts) > 1:
            os.kill(os.getpid(), 9)
        count = len(prompts) * new_tokens
        num_tokens = count - 1 if self._fate == "stops early" else count
        return SimpleNamespace(first_at=time.perf_counter(), num_tokens=num_tokens)


if __name__ == "__main__":
    from serving import serve  # where workers are

    serve(FakeTool())
