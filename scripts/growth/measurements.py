"""The measurements, each a function that a process of its own runs (`alone`), so that its memory is its own.

A long past is not read but made up: what attention takes does not depend on what the keys and values are.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

import numpy as np

from genai.cache import PrefixKey
from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.folder import ModelFolder
from genai.runtime import Decoder
from genai.runtime.devices import HostDevice

__all__ = [
    "BATCH_PROMPT",
    "WARM_PROMPT",
    "BatchSample",
    "Bench",
    "MemorySample",
    "Timing",
    "alone",
    "batch_seconds",
    "decode_seconds",
    "load_seconds",
    "memory",
    "prompt_seconds",
]

BATCH_PROMPT = 64
NUM_WARM_UP = 2
"""Steps after the first token that are not counted."""
ENOUGH_SECONDS = 20.0
"""A prompt that has taken so long together is not read again."""
TAIL, TAIL_STEPS = 32, 4
"""Tokens that each sequence has of its own behind a made-up past that all share, where memory is measured; decoded of them."""
WARM_PROMPT = 512
"""A whole chunk of a prompt."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Timing:
    """How often something is measured.

    Args:
        rounds: How often a prompt or a load is repeated, and all decoding.
        steps: Decoding steps of which the median counts.
    """

    rounds: int
    steps: int


@dataclass(frozen=True, slots=True)
class BatchSample:
    """Seconds of steps, and of what they are compared with.

    Args:
        prompt_tokens: Tokens of a prompt.
        prompt_seconds: What it takes.
        step_seconds: What a step of each number of sequences takes.
    """

    prompt_tokens: int
    prompt_seconds: float
    step_seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class MemorySample:
    """What is resident in a process, in bytes.

    Args:
        before: After a prompt, the KV cache given up.
        resident: With all sequences in the KV cache.
        peak: The most until then.
    """

    before: int
    resident: int
    peak: int


def alone(
    measure: Callable[_Arguments, _Result], *args: _Arguments.args, **options: _Arguments.kwargs
) -> _Result:
    """Return what a function gives in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args, **options).result()


def decode_seconds(folder: Path, pasts: Sequence[int], timing: Timing) -> list[float]:
    """Return the seconds of a decoding step behind each past."""
    bench = Bench(folder, max_batch=1)
    samples: list[list[float]] = [[] for _ in pasts]
    for _ in range(timing.rounds):
        for past, own in zip(pasts, samples, strict=True):
            token_ids = bench.draw(past)
            bench.make_up(token_ids[:-1])
            own.append(bench.step_seconds([token_ids], timing.steps))
    return [median(own) for own in samples]


def batch_seconds(folder: Path, sizes: Sequence[int], timing: Timing) -> BatchSample:
    """Measure a prompt, and a decoding step of each number of sequences."""
    bench = Bench(folder, max_batch=max(sizes))
    length = min(WARM_PROMPT, bench.decoder.context_length - 1)
    prompt: list[float] = []
    steps: list[list[float]] = [[] for _ in sizes]
    bench.first_token_seconds(bench.draw(length))
    for _ in range(timing.rounds):
        prompt.append(bench.first_token_seconds(bench.draw(length)))
        for size, own in zip(sizes, steps, strict=True):
            prompts = [bench.draw(BATCH_PROMPT) for _ in range(size)]
            own.append(bench.step_seconds(prompts, timing.steps))
    return BatchSample(length, median(prompt), [median(own) for own in steps])


def prompt_seconds(folder: Path, lengths: Sequence[int], timing: Timing) -> list[float]:
    """Return the seconds from a prompt of each length to its first token."""
    bench = Bench(folder, max_batch=1)
    bench.first_token_seconds(bench.draw(min(lengths)))
    samples: list[list[float]] = [[] for _ in lengths]
    for _ in range(timing.rounds):
        for length, own in zip(lengths, samples, strict=True):
            if sum(own) < ENOUGH_SECONDS:
                own.append(bench.first_token_seconds(bench.draw(length)))
    return [median(own) for own in samples]


def memory(folder: Path, context: int, slots: int) -> MemorySample:
    """Return what is resident when so many sequences of `context` tokens are in the cache."""
    bench = Bench(folder, max_batch=slots)
    bench.first_token_seconds(bench.draw(min(WARM_PROMPT, context)))
    bench.decoder.cache.reset()
    before = _resident("VmRSS")
    shared = bench.draw(context - TAIL)
    bench.make_up(shared)
    requests = bench.submit([shared + bench.draw(TAIL - TAIL_STEPS) for _ in range(slots)])
    for _ in range(TAIL_STEPS - 1):
        bench.engine.advance()
    sample = MemorySample(before, _resident("VmRSS"), _resident("VmHWM"))
    bench.end(requests)
    return sample


def load_seconds(folder: Path) -> float:
    """Return the seconds to open a model, everything imported and its files in the system's cache."""
    start = time.perf_counter()
    Decoder(ModelFolder.load(folder), provider="cpu")
    return time.perf_counter() - start


class Bench:
    """A model on the CPU, and requests of random tokens that are drawn anew each time."""

    def __init__(self, folder: Path, *, max_batch: int) -> None:
        self.decoder = Decoder(ModelFolder.load(folder), provider="cpu", max_batch=max_batch)
        self.engine = Engine(self.decoder)
        self._random = np.random.default_rng(0)

    def draw(self, length: int) -> list[int]:
        """Return so many random tokens."""
        ids: list[int] = self._random.integers(0, self.decoder.vocab_size, length).tolist()
        return ids

    def make_up(self, token_ids: list[int]) -> None:
        """Let the cache hold these tokens and nothing else, with made-up keys and values."""
        cache = self.decoder.cache
        cache.reset()
        if not token_ids:
            return
        key = PrefixKey(self.decoder.position_table_for(len(token_ids)))
        slot = cache.acquire(token_ids, key=key)
        assert slot is not None
        assert cache.reserve(len(token_ids))
        for buffer in cache.sides[0]:
            view = HostDevice().host_view(buffer)[slot.index, :, : len(token_ids)]
            view[...] = self._random.random(view.shape, np.float32)
        slot.token_ids = list(token_ids)
        cache.release(slot)

    def submit(self, prompts: Sequence[Sequence[int]]) -> list[Request]:
        """Advance until all prompts have a first token."""
        longest = max(map(len, prompts))
        config = GenerationConfig(
            max_new_tokens=self.decoder.context_length - longest,
            do_sample=False,
            ignore_eos=True,
            speculative="off",
        )
        requests = [Request(prompt, config, stream=True) for prompt in prompts]
        for request in requests:
            self.engine.submit(request)
        while not all(request.pieces for request in requests):
            self.engine.advance()
            for request in requests:
                if request.error is not None:
                    raise request.error
        return requests

    def end(self, requests: Sequence[Request]) -> None:
        """End them where they are."""
        for request in requests:
            self.engine.cancel(request)
            if request.error is not None:
                raise request.error

    def first_token_seconds(self, token_ids: Sequence[int]) -> float:
        """Return how long a prompt takes to its first token."""
        start = time.perf_counter()
        requests = self.submit([token_ids])
        seconds = time.perf_counter() - start
        self.end(requests)
        return seconds

    def step_seconds(self, prompts: Sequence[Sequence[int]], num_steps: int) -> float:
        """Return the median of steps in which all prompts are continued together."""
        requests = self.submit(prompts)
        seconds = []
        for _ in range(NUM_WARM_UP + num_steps):
            start = time.perf_counter()
            self.engine.advance()
            seconds.append(time.perf_counter() - start)
        self.end(requests)
        return median(seconds[NUM_WARM_UP:])


def _resident(key: str) -> int:
    """Return what Linux says of this process's memory, in bytes."""
    found = re.search(rf"^{key}:\s*(\d+) kB$", Path("/proc/self/status").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])
