"""The loop of a worker: jobs come as lines of JSON on standard input, answers go as lines on standard output.

Every file beside this one is the worker of one engine. It runs in whatever environment has that engine, so it imports
nothing but the engine and numpy. Between jobs it waits in a read and takes no time of the processor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["Engine", "Generation", "Tool", "mean_nll", "serve"]


@dataclass(frozen=True)
class Generation:
    """What an engine generated.

    Args:
        first_at: When the first token of every prompt was there, in seconds of `time.perf_counter`.
        num_tokens: New tokens of all prompts together.
    """

    first_at: float
    num_tokens: int


class Engine(Protocol):
    """A loaded model."""

    def generate(self, prompts: np.ndarray, new_tokens: int) -> Generation:
        """Continue prompts, int64 [num_prompts, length], greedily by exactly so many tokens each."""
        ...


class Tool(Protocol):
    """What a worker's module has."""

    __version__: str

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        """Make the engine's form of a checkpoint or GGUF file, in a folder that exists."""
        ...

    def load(self, model: str, *, threads: int, max_tokens: int) -> Engine:
        """Open what `convert` made, for sequences of up to `max_tokens`."""
        ...

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        """Return the mean negative log-likelihood of each text's tokens after the first, in nats."""
        ...


def serve(tool: Tool) -> None:
    """Do jobs until standard input ends; an error ends the process, and its last line says which."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # engines and converters print there
    engine: Engine | None = None
    for line in sys.stdin:
        job = json.loads(line)
        do = job.pop("do")
        answer: dict[str, Any] = {}
        if do == "convert":
            tool.convert(**job)
        elif do == "load":
            start = time.perf_counter()
            engine = tool.load(**job)
            answer = {"seconds": time.perf_counter() - start, "version": tool.__version__}
        elif do == "generate":
            assert engine is not None, "generate comes after load"
            answer = _generate(engine, np.array(job["prompts"], np.int64), job["new_tokens"])
        elif do == "score":
            answer = {"mean_nlls": tool.score(**job)}
        else:
            raise ValueError(f"there is no job {do!r}")
        print(json.dumps(answer), file=answers, flush=True)


def mean_nll(logits: Any, token_ids: Sequence[int]) -> float:
    """Return the mean negative log-likelihood in nats, of logits that expect each token but the first.

    Row i of logits, [at least len(token_ids) - 1, vocab], is what the model expects after token i.
    """
    count = len(token_ids) - 1
    shifted = np.asarray(logits[:count], np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-shifted[np.arange(count), token_ids[1:]].mean())


def _generate(engine: Engine, prompts: np.ndarray, new_tokens: int) -> dict[str, float]:
    start = time.perf_counter()
    generation = engine.generate(prompts, new_tokens)
    end = time.perf_counter()
    if generation.num_tokens != len(prompts) * new_tokens:
        raise RuntimeError(
            f"{generation.num_tokens} tokens were generated instead of {len(prompts)} x {new_tokens}"
        )
    return {
        "first_seconds": generation.first_at - start,
        "total_seconds": end - start,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
