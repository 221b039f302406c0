"""A model's way through all engines: converting, loading, rounds, scoring."""

from __future__ import annotations

import contextlib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .comparison import NEW_TOKENS, TASKS, Row, run_rounds
from .recipes import ENGINES, EngineFile, Recipe
from .sources import Sources, made_once
from .worker import Worker, WorkerError

__all__ = ["Settings", "compare"]

PAUSE_SECONDS = 0.3
"""Before every job: what engines' threads may spin after the one before."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says of all shapes.

    Args:
        work: Where models are kept.
        num_threads: Of every engine.
        num_rounds: After warming up.
        pythons: Interpreters of engines that have an environment of their own.
        engines: Their workers.
    """

    work: Path
    num_threads: int
    num_rounds: int
    pythons: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, EngineFile] = field(default_factory=lambda: ENGINES)

    def start(self, recipe: Recipe, folder: Path) -> Worker:
        """Start a row's engine; what it prints goes to a file beside its model."""
        return Worker(
            self.engines[recipe.engine].script,
            log=folder.with_name(f"{folder.name}.log"),
            python=self.pythons.get(recipe.engine),
            num_threads=self.num_threads,
        )


def compare(
    sources: Sources, recipes: Sequence[Recipe], settings: Settings, *, texts: Sequence[Sequence[int]]
) -> list[Row]:
    """Convert, load and measure a model with every engine, and score texts with it; an engine that fails has an error."""
    name = sources.folder.name
    rows = [Row(recipe) for recipe in recipes]
    folders = [sources.folder / re.sub(r"[^\w.=-]+", "-", recipe.name) for recipe in recipes]
    for row, folder in zip(rows, folders, strict=True):
        convert(row, folder, sources, settings)
    with contextlib.ExitStack() as stack:
        peers = []
        for row, folder in zip(rows, folders, strict=True):
            if row.error is None:
                say(f"{name}: loading {row.recipe.name}")
                worker = stack.enter_context(settings.start(row.recipe, folder))
                load(row, worker, folder, settings)
                peers.append((row, worker))
        run_rounds(
            peers,
            num_rounds=settings.num_rounds,
            vocab_size=sources.vocab_size(),
            pause_seconds=PAUSE_SECONDS,
            report=lambda text: say(f"{name}: {text}"),
        )
    for row, folder in zip(rows, folders, strict=True):
        if texts and row.error is None:
            say(f"{name}: scoring {row.recipe.name}")
            with settings.start(row.recipe, folder) as worker:
                answer = row.ask(worker, "score", model=str(folder), texts=texts, options={})
            row.perplexities = [math.exp(mean) for mean in answer["mean_nlls"]] if answer else []
    return rows


def convert(row: Row, folder: Path, sources: Sources, settings: Settings) -> None:
    """Make a row's model, if it is not there."""

    def make(target: Path) -> None:
        say(f"{sources.folder.name}: converting for {row.recipe.name}")
        source = str(sources.find(settings.engines[row.recipe.engine].source))
        with settings.start(row.recipe, folder) as worker:
            worker.ask("convert", source=source, target=str(target), options=dict(row.recipe.options))

    try:
        made_once(folder, make)
    except WorkerError as error:
        row.error = str(error)


def load(row: Row, worker: Worker, folder: Path, settings: Settings) -> None:
    """Load a row's model, and note what that tells."""
    max_tokens = max(task.prompt_tokens for task in TASKS) + NEW_TOKENS
    answer = row.ask(worker, "load", model=str(folder), threads=settings.num_threads, max_tokens=max_tokens)
    if answer is not None:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        row.facts = {"load s": answer["seconds"], "folder MB": size / 1e6}
        row.version = answer["version"]


def say(text: str) -> None:
    """Tell what is going on, beside what the run prints."""
    print(text, file=sys.stderr, flush=True)
