"""From single measurements to a report: medians, and what share of the machine they reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from genai.benchmark.measure import BatchSample, HostSample, Opened, Profile, PromptSample
from genai.benchmark.memory import MemoryUse
from genai.benchmark.report import (
    BatchReport,
    HostReport,
    LoadReport,
    MemoryReport,
    ModelReport,
    PromptReport,
)
from genai.benchmark.samples import Samples
from genai.benchmark.shares import decode_share, prompt_share
from genai.folder import ModelFolder
from genai.runtime.machine_limits import MachineLimits

if TYPE_CHECKING:
    from genai.benchmark.work import Work

__all__ = ["Measurements", "Subject", "summarize"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is measured.

    Args:
        name: What it was given by.
        folder: Its folder.
        precision: What its weights are stored in.
        num_bytes: Bytes of its ONNX files and weights.
        work: What a token asks of its graph; None where the graph does not tell.
        num_threads: Threads of an operator; None is ONNX Runtime's choice.
    """

    name: str
    folder: ModelFolder
    precision: str
    num_bytes: int
    work: Work | None
    num_threads: int | None


@dataclass(slots=True)
class Measurements:
    """What one model's processes have given, each list in the order of the repeats.

    Args:
        process_seconds: From the start of each process until the model could run.
        opened: What opening gave in each of them.
        prompt: By length.
        past: By length.
        batch: By number of sequences.
        host: Python's part of a step.
        memory: What the process had taken when it was open, after one sequence at a time, and after batches.
        profile: A prompt and a step by operator.
    """

    process_seconds: list[float] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    prompt: dict[int, list[PromptSample]] = field(default_factory=dict)
    past: dict[int, list[PromptSample]] = field(default_factory=dict)
    batch: dict[int, list[BatchSample]] = field(default_factory=dict)
    host: list[HostSample] = field(default_factory=list)
    memory: list[MemoryUse] = field(default_factory=list)
    profile: Profile | None = None

    @property
    def provider(self) -> str:
        """The execution provider that ran it."""
        return self.opened[0].provider


def summarize(
    subject: Subject,
    measured: Measurements,
    *,
    new_tokens: int,
    limits: Mapping[int | None, MachineLimits],
) -> ModelReport:
    """Return the report of one model.

    Args:
        subject: The model.
        measured: What was measured of it.
        new_tokens: Tokens that every prompt was continued with.
        limits: What the CPU can do, by number of threads, as far as that was measured.
    """
    own = limits.get(subject.num_threads) if measured.provider == "cpu" else None
    step = Samples(tuple(sample.step_seconds for sample in measured.host))
    host = Samples(tuple(sample.host_seconds for sample in measured.host))
    return ModelReport(
        model=subject.name,
        path=subject.folder.path,
        precision=subject.precision,
        provider=measured.provider,
        num_threads=subject.num_threads,
        limits=own,
        num_bytes=subject.num_bytes,
        load=LoadReport(
            Samples(tuple(measured.process_seconds)), Samples(tuple(each.seconds for each in measured.opened))
        ),
        memory=MemoryReport(*measured.memory),
        prompts=tuple(
            _prompt(length, samples, new_tokens, subject.work, own)
            for length, samples in measured.prompt.items()
        ),
        pasts=tuple(
            _past(length, samples, new_tokens, subject.work, own) for length, samples in measured.past.items()
        ),
        batches=tuple(
            BatchReport(
                size,
                Samples(tuple(sample.tokens_per_second for sample in samples)),
                Samples.of([sample.joules_per_token for sample in samples]),
            )
            for size, samples in measured.batch.items()
        ),
        host=HostReport(step, host, host.over(step)),
        work=subject.work,
        profile=measured.profile,
    )


def _past(
    length: int,
    samples: Sequence[PromptSample],
    new_tokens: int,
    work: Work | None,
    limits: MachineLimits | None,
) -> PromptReport:
    """Summarize decoding after a past that was in the cache."""
    speed = Samples(tuple(sample.decode_tokens_per_second for sample in samples))
    # On average, half of the new tokens lie behind the past, too.
    share = decode_share(work, limits, past=length + new_tokens // 2, tokens_per_second=speed.median)
    return PromptReport(
        prompt_tokens=length,
        time_to_first_token_seconds=None,
        prompt_tokens_per_second=None,
        decode_tokens_per_second=speed,
        joules_per_token=Samples.of([sample.joules_per_token for sample in samples]),
        prompt_share=None,
        decode_share=share,
    )


def _prompt(
    length: int,
    samples: Sequence[PromptSample],
    new_tokens: int,
    work: Work | None,
    limits: MachineLimits | None,
) -> PromptReport:
    """Summarize the reading of a prompt, and decoding after it."""
    first = Samples(tuple(sample.time_to_first_token_seconds for sample in samples))
    return dataclasses.replace(
        _past(length, samples, new_tokens, work, limits),
        time_to_first_token_seconds=first,
        prompt_tokens_per_second=Samples(tuple(length / seconds for seconds in first.values)),
        prompt_share=prompt_share(work, limits, prompt_tokens=length, seconds=first.median),
    )
