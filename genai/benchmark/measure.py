"""The measurements of one model, each taken once; what repeats and compares them is elsewhere.

Runs in a process of the model's own (`genai.benchmark.worker`): the peak memory is that of this model alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genai.benchmark.breakdown import Breakdown, TracedRun, read_trace, summarize_runs
from genai.benchmark.energy import EnergyMeter
from genai.benchmark.memory import MemoryUse, memory_use
from genai.benchmark.settings import BATCH_PROMPT_TOKENS, HOST_PROMPT_TOKENS, OpeningOptions
from genai.config import GenerationConfig
from genai.engine import Engine, GenerationResult, Request
from genai.errors import GenerationError
from genai.folder import ModelFolder
from genai.generator import Generator
from genai.runtime import Decoder
from genai.runtime.decoder import DEFAULT_MAX_BATCH
from genai.runtime.machine_limits import MachineLimits, measure_limits
from genai.runtime.run_clock import timed_runs

__all__ = ["BatchSample", "Bench", "HostSample", "Opened", "Profile", "PromptSample"]

NUM_PROFILED = 3
"""Prompts that are profiled, each with steps behind it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that was opened.

    Args:
        provider: The execution provider that runs it.
        seconds: What opening took.
    """

    provider: str
    seconds: float


@dataclass(frozen=True, slots=True)
class PromptSample:
    """One prompt, and what came after it.

    Args:
        time_to_first_token_seconds: From the request to its first token.
        decode_tokens_per_second: New tokens after the first, per second.
        joules_per_token: Energy of decoding, per new token; None where it cannot be read.
    """

    time_to_first_token_seconds: float
    decode_tokens_per_second: float
    joules_per_token: float | None


@dataclass(frozen=True, slots=True)
class BatchSample:
    """Several prompts at once, their reading included.

    Args:
        tokens_per_second: New tokens of all of them, per second.
        joules_per_token: Energy, per new token; None where it cannot be read.
    """

    tokens_per_second: float
    joules_per_token: float | None


@dataclass(frozen=True, slots=True)
class HostSample:
    """Where a decoding step's time goes.

    Args:
        step_seconds: The whole step, the mean over a generation.
        host_seconds: Of it, outside ONNX Runtime's runs: Python's part.
    """

    step_seconds: float
    host_seconds: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A prompt and a decoding step by operator; None where ONNX Runtime's profiler saw nothing.

    Args:
        prompt: A prompt, but for its last token.
        step: A decoding step after it.
    """

    prompt: Breakdown | None
    step: Breakdown | None


class Bench:
    """One model, and everything that is measured of it.

    Every prompt is of random tokens that were not seen before, so that nothing comes from the cache; tokens are the most
    likely ones, and an end of text ends nothing.
    """

    def __init__(self) -> None:
        self._generator: Generator | None = None
        self._folder: ModelFolder | None = None
        self._options = OpeningOptions()
        self._random = np.random.default_rng(0)
        self._energy = EnergyMeter()
        self._pasts: dict[int, list[int]] = {}

    def open(self, folder: ModelFolder, options: OpeningOptions, num_sequences: int) -> Opened:
        """Open the model, for its usual number of sequences or for so many, if they are more.

        Raises:
            GenaiError: As `Generator` raises.
        """
        self._folder, self._options = folder, options
        start = time.perf_counter()
        max_batch = max(num_sequences, DEFAULT_MAX_BATCH)
        self._generator = Generator(folder, max_batch=max_batch, **options)
        seconds = time.perf_counter() - start
        return Opened(self._generator.provider, seconds)

    def prompt(self, size: int, new_tokens: int) -> PromptSample:
        """Read a new prompt and continue it; for the energy of decoding, continue it once more out of the cache."""
        token_ids = self._draw(size)
        result = self._continue([token_ids], new_tokens)[0]
        joules = None
        if self._energy.is_readable:
            before = self._energy.read()
            self._continue([token_ids], new_tokens)
            joules = self._energy.joules_since(before) / new_tokens
        stats = result.stats
        return PromptSample(stats.time_to_first_token_seconds, stats.tokens_per_second, joules)

    def past(self, size: int, new_tokens: int) -> PromptSample:
        """Decode after a past that is read before the first time, and stays in the cache."""
        if size not in self._pasts:
            self._pasts[size] = self._draw(size)
            self._continue([self._pasts[size]], 1)
        token_ids = self._pasts[size]
        before = self._energy.read()
        result = self._continue([token_ids], new_tokens)[0]
        joules = self._energy.joules_since(before) / new_tokens if self._energy.is_readable else None
        stats = result.stats
        return PromptSample(stats.time_to_first_token_seconds, stats.tokens_per_second, joules)

    def batch(self, size: int, new_tokens: int) -> BatchSample:
        """Continue several short prompts at once."""
        prompts = [self._draw(BATCH_PROMPT_TOKENS) for _ in range(size)]
        before, start = self._energy.read(), time.perf_counter()
        self._continue(prompts, new_tokens)
        seconds = time.perf_counter() - start
        total = size * new_tokens
        joules = self._energy.joules_since(before) / total if self._energy.is_readable else None
        return BatchSample(total / seconds, joules)

    def host(self, new_tokens: int) -> HostSample:
        """Measure how much of a decoding step is outside ONNX Runtime, after a short prompt."""
        with timed_runs() as seconds:
            result = self._continue([self._draw(HOST_PROMPT_TOKENS)], new_tokens)[0]
        stats, num_steps = result.stats, new_tokens - 1
        whole = stats.total_seconds - stats.time_to_first_token_seconds
        return HostSample(whole / num_steps, (whole - sum(seconds[-num_steps:])) / num_steps)

    def memory(self) -> MemoryUse:
        """Return what the process has taken so far."""
        return memory_use()

    def profile(self, size: int, new_tokens: int) -> Profile:
        """Close the model, open it with ONNX Runtime's profiler on, and look into a prompt and the steps after it."""
        assert self._folder is not None
        assert self._generator is not None
        vocab_size = self._generator.vocab_size
        self._generator.close()
        self._generator = None
        with tempfile.TemporaryDirectory(prefix="genai-profile-") as folder:
            decoder = Decoder(self._folder, profile_folder=Path(folder), **self._options)
            engine = Engine(decoder)
            for _ in range(1 + NUM_PROFILED):  # the first is the warm-up
                token_ids = self._random.integers(0, vocab_size, size).tolist()
                request = Request(token_ids, _greedy(new_tokens))
                engine.submit(request)
                engine.run([request])
                if request.error is not None:
                    raise request.error
            traces = [read_trace(path) for path in decoder.end_profiling()]
        # What ran prompts comes first, what ran generated tokens last: mostly one and the same.
        requests = [_by_request(runs) for runs in traces]
        steps = [[run] for runs in requests[-1] for run in runs[-new_tokens:]]
        prompts = requests[0] if len(requests) > 1 else [runs[:-new_tokens] for runs in requests[0]]
        return Profile(summarize_runs(prompts, num_tokens=size - 1), summarize_runs(steps, num_tokens=1))

    def limits(self, num_threads: int | None) -> MachineLimits:
        """Measure what the machine can do at most."""
        return measure_limits(num_threads=num_threads)

    def _draw(self, length: int) -> list[int]:
        assert self._generator is not None
        ids: list[int] = self._random.integers(0, self._generator.vocab_size, length).tolist()
        return ids

    def _continue(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[GenerationResult]:
        assert self._generator is not None
        results = self._generator.generate(token_ids=prompts, config=_greedy(new_tokens))
        for result in results:
            if len(result.token_ids) != new_tokens:
                raise GenerationError(
                    f"{len(result.token_ids)} of {new_tokens} tokens came ({result.finish_reason})"
                )
        return results


def _greedy(new_tokens: int) -> GenerationConfig:
    return GenerationConfig(max_new_tokens=new_tokens, do_sample=False, ignore_eos=True, speculative="off")


def _by_request(runs: Sequence[TracedRun]) -> list[Sequence[TracedRun]]:
    """Cut the runs of equal requests into those of each; leave out the first's, which warms up."""
    each = len(runs) // (1 + NUM_PROFILED)
    return (
        [runs[start : start + each] for start in range(each, each * (1 + NUM_PROFILED), each)] if each else []
    )
