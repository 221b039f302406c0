"""What each server loads: a shape's model at 4 bits, made by the recipes of `compare_peers.py` and kept in the same folders."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from peers.recipes import RECIPES, WORKERS, Recipe
from peers.sources import SHAPES, Sources, made_once
from peers.worker import Worker

from .servers import Programs, ServerError

__all__ = ["ROWS", "find_model"]

ROWS: Mapping[str, str] = {
    "genai": "genai int4",
    "llama.cpp": "llama.cpp Q4_0",
    "openvino": "OpenVINO GenAI int4",
}
"""Which row of the comparison each engine serves, unless another is named."""


def find_model(engine: str, row: str, shape: str, work: Path, programs: Programs) -> Path:
    """Return what an engine loads; what is not there is made.

    Raises:
        ServerError: What it takes to make it is not there.
        WorkerError: It could not be made.
    """
    recipe = next((each for each in RECIPES if each.name == row and each.engine == engine), None)
    if recipe is None:
        rows = ", ".join(each.name for each in RECIPES if each.engine == engine)
        raise ServerError(f'{engine} has no row "{row}"; it has: {rows}')
    sources = Sources(SHAPES[shape], work / shape)
    folder = made_once(
        sources.folder / re.sub(r"[^\w.=-]+", "-", recipe.name), _maker(recipe, sources, programs)
    )
    return {"genai": folder / "model", "llama.cpp": folder / "model.gguf"}.get(engine, folder)


def _maker(recipe: Recipe, sources: Sources, programs: Programs) -> Callable[[Path], None]:
    def quantize(target: Path) -> None:
        """By the program that is built with the server: its Python bindings are not needed."""
        program = Path(shutil.which(programs.llama_server or "") or "").with_name("llama-quantize")
        source, made = str(sources.find("gguf")), str(target / "model.gguf")
        command = [str(program), source, made, recipe.options["type"]]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except OSError as error:
            raise ServerError(
                f"llama.cpp's models are made by the program beside its server: {error}"
            ) from error

    def convert(target: Path) -> None:
        python = programs.openvino_python if recipe.engine == "openvino" else None
        log = target.with_name(f"{target.name}.log")
        source = str(sources.find("checkpoint"))
        with Worker(WORKERS / f"{recipe.engine}_worker.py", log=log, python=python) as worker:
            worker.ask("convert", source=source, target=str(target), options=dict(recipe.options))

    return quantize if recipe.engine == "llama.cpp" else convert
