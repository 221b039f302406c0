"""Rounds that take engines in turns, and what is made of them: medians, ratios within a round, equal quality.

Knows nothing of processes and models: an engine is whatever answers jobs.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .recipes import Recipe
from .worker import WorkerError

__all__ = [
    "EQUAL_QUALITY",
    "NEW_TOKENS",
    "TASKS",
    "Peer",
    "Row",
    "Task",
    "medians",
    "quality",
    "ratios",
    "run_rounds",
]

NEW_TOKENS = 64
EQUAL_QUALITY = 1.02
"""How much more than the best perplexity at 4 bits still counts as the same quality."""


class Peer(Protocol):
    """What answers jobs."""

    def ask(self, do: str, **job: Any) -> dict[str, Any]:
        """Do a job; raises WorkerError."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """Prompts of equal length, each continued by `NEW_TOKENS`."""

    num_prompts: int
    prompt_tokens: int

    def figures(self, answer: Mapping[str, float]) -> dict[str, float]:
        """Return what an answer means: tokens per second, and milliseconds to the first token of a prompt."""
        first, total = answer["first_seconds"], answer["total_seconds"]
        if self.num_prompts > 1:
            return {f"batch {self.num_prompts}": self.num_prompts * NEW_TOKENS / total}
        return {
            f"prompt {self.prompt_tokens}": self.prompt_tokens / first,
            f"decode {self.prompt_tokens}": (NEW_TOKENS - 1) / (total - first),
            f"first {self.prompt_tokens}": first * 1000,
        }


TASKS = (Task(1, 64), Task(1, 512), Task(1, 2048), Task(8, 64))


@dataclass(slots=True)
class Row:
    """What is known of a recipe, while it is measured and after.

    Args:
        recipe: It.
        facts: Figures that are the same in every round.
        version: Of the engine.
        rounds: The figures of each round, by name.
        perplexities: One for each text, where the weights are real.
        error: Why nothing more came.
    """

    recipe: Recipe
    facts: dict[str, float] = field(default_factory=dict)
    version: str | None = None
    rounds: list[dict[str, float]] = field(default_factory=list)
    perplexities: list[float] = field(default_factory=list)
    error: str | None = None

    def ask(self, peer: Peer, do: str, **job: Any) -> dict[str, Any] | None:
        """Return a peer's answer, or `None` once the row has an error."""
        if self.error is not None:
            return None
        try:
            return peer.ask(do, **job)
        except WorkerError as error:
            self.error = str(error)
            return None


def run_rounds(
    peers: Sequence[tuple[Row, Peer]],
    *,
    num_rounds: int,
    vocab_size: int,
    tasks: Sequence[Task] = TASKS,
    pause_seconds: float = 0.0,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Warm up, then add rounds to the rows: every task goes from engine to engine before the next task comes.

    Every prompt is new, so that nobody answers from a cache, and all engines get the same ones. The pause before each
    job lets the threads of the engine before it stop spinning.
    """
    random = np.random.default_rng(0)
    for number in range(num_rounds + 1):
        stage = f"round {number} of {num_rounds}" if number else "warming up"
        found: list[dict[str, float]] = [{} for _ in peers]
        for task in tasks:
            report(f"{stage}, {task.num_prompts} x {task.prompt_tokens} tokens")
            prompts = random.integers(3, vocab_size, (task.num_prompts, task.prompt_tokens)).tolist()
            for figures, (row, peer) in zip(found, peers, strict=True):
                time.sleep(pause_seconds)
                answer = row.ask(peer, "generate", prompts=prompts, new_tokens=NEW_TOKENS)
                if answer is not None:
                    figures |= task.figures(answer) | {"peak MB": answer["peak_mb"]}
        for figures, (row, _) in zip(found, peers, strict=True):
            if number and row.error is None:
                row.rounds.append(row.facts | figures)


def medians(row: Row) -> dict[str, float]:
    """Return the median of every figure over the rounds."""
    names = row.rounds[0] if row.rounds else ()
    return {name: statistics.median(each[name] for each in row.rounds) for name in names}


def ratios(reference: Row, row: Row) -> dict[str, float]:
    """Return, for every figure, the median over the rounds of the reference's divided by the row's."""
    pairs = list(zip(reference.rounds, row.rounds, strict=False))  # either may have ended early
    names = pairs[0][0] if pairs else ()
    return {name: statistics.median(ours[name] / theirs[name] for ours, theirs in pairs) for name in names}


def quality(rows: Sequence[Row]) -> list[float | None]:
    """Return each row's perplexity relative to the best row of 4 bits, as a geometric mean over the texts."""
    means = [
        math.exp(statistics.fmean(map(math.log, row.perplexities))) if row.perplexities else None
        for row in rows
    ]
    best = min(
        (mean for row, mean in zip(rows, means, strict=True) if mean is not None and row.recipe.bits == 4),
        default=None,
    )
    return [None if mean is None or best is None else mean / best for mean in means]
