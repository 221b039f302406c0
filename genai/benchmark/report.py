"""What a benchmark found, as values and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai.benchmark.breakdown import Breakdown
from genai.benchmark.measure import Profile
from genai.benchmark.memory import MemoryUse
from genai.benchmark.samples import Samples
from genai.benchmark.settings import BenchmarkSettings
from genai.runtime.machine_limits import MachineLimits

if TYPE_CHECKING:
    from genai.benchmark.work import Work

__all__ = [
    "BatchReport",
    "BenchmarkReport",
    "HostReport",
    "LoadReport",
    "Machine",
    "ModelReport",
    "PromptReport",
]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How long it takes until a model can run.

    Args:
        process_seconds: From the start of a process, Python's imports included.
        open_seconds: Of it, opening the model.
    """

    process_seconds: Samples
    open_seconds: Samples


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What a model's process had taken at three times; a peak never falls.

    Args:
        loaded: When the model was open.
        one_sequence: When all lengths had been measured, of one sequence at a time.
        batches: When several sequences had run together, too, with slots as long as the longest of those before.
    """

    loaded: MemoryUse
    one_sequence: MemoryUse
    batches: MemoryUse


@dataclass(frozen=True, slots=True)
class PromptReport:
    """What was measured at one length.

    Args:
        prompt_tokens: Tokens before the first new one.
        time_to_first_token_seconds: From the request to the first token; None where the prompt was in the cache.
        prompt_tokens_per_second: Its tokens over that time.
        decode_tokens_per_second: New tokens after the first, per second.
        joules_per_token: Energy of decoding, per new token; None where it cannot be read.
        prompt_share: Of what the machine's arithmetic allows; None where it is not known.
        decode_share: Of what reading memory allows; None where it is not known.
    """

    prompt_tokens: int
    time_to_first_token_seconds: Samples | None
    prompt_tokens_per_second: Samples | None
    decode_tokens_per_second: Samples
    joules_per_token: Samples | None
    prompt_share: float | None
    decode_share: float | None


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What was measured of several sequences at once.

    Args:
        batch: How many.
        tokens_per_second: New tokens of all of them per second, the reading of their prompts included.
        joules_per_token: Energy per new token; None where it cannot be read.
    """

    batch: int
    tokens_per_second: Samples
    joules_per_token: Samples | None


@dataclass(frozen=True, slots=True)
class HostReport:
    """Python's part of a decoding step.

    Args:
        step_seconds: The whole step.
        host_seconds: Of it, outside ONNX Runtime.
        host_share: The share.
    """

    step_seconds: Samples
    host_seconds: Samples
    host_share: Samples


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was measured of one model.

    Args:
        model: The name that it was given by.
        path: Its folder.
        precision: What its weights are stored in.
        provider: The execution provider that ran it.
        num_threads: Threads of an operator, as they were asked for; None is ONNX Runtime's choice.
        limits: What the machine can do at most with these; None where that was not measured.
        num_bytes: Bytes of its ONNX files and weights.
        load: How long it took until it could run.
        memory: What its process took.
        prompts: What was measured of prompts, by their length.
        pasts: What was measured of decoding alone, by the length of the past.
        batches: What was measured of several sequences.
        host: Python's part.
        work: What a token asks of the graph; None where the graph does not tell.
        profile: A prompt and a step by operator; None where it was not asked for.
    """

    model: str
    path: Path
    precision: str
    provider: str
    num_threads: int | None
    limits: MachineLimits | None
    num_bytes: int
    load: LoadReport
    memory: MemoryReport
    prompts: tuple[PromptReport, ...]
    pasts: tuple[PromptReport, ...]
    batches: tuple[BatchReport, ...]
    host: HostReport
    work: Work | None
    profile: Profile | None


@dataclass(frozen=True, slots=True)
class Machine:
    """What it ran on. Where the models have different limits, these are the first's.

    Args:
        cpu: What the processor calls itself.
        num_cpus: How many of its threads this process may use.
        num_threads: Threads of an operator, as they were asked for; None is ONNX Runtime's choice.
        limits: What it can do at most with these; None where that was not measured.
    """

    cpu: str
    num_cpus: int
    num_threads: int | None
    limits: MachineLimits | None


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """What a benchmark found.

    Args:
        machine: What it ran on.
        settings: What was measured, and how often.
        models: One model, or two that were measured in turns.
        notes: What could not be measured, and why.
        versions: Versions of the packages that did the work.
        date: Date and time in ISO 8601, UTC.
    """

    machine: Machine
    settings: BenchmarkSettings
    models: tuple[ModelReport, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    date: str

    def ratios(self) -> dict[str, dict[int, Samples]]:
        """Return how many times as fast as the second the first model is: within each repeat, by what and at which size.

        The keys are "prompt", "decode", "past" and "batch". Empty where there is one model.
        """
        if len(self.models) < 2:
            return {}
        first, second = self.models
        found: dict[str, dict[int, Samples]] = {"prompt": {}, "decode": {}, "past": {}, "batch": {}}
        for mine, other in zip(first.prompts, second.prompts, strict=True):
            size = mine.prompt_tokens
            if mine.prompt_tokens_per_second is not None and other.prompt_tokens_per_second is not None:
                found["prompt"][size] = mine.prompt_tokens_per_second.over(other.prompt_tokens_per_second)
            found["decode"][size] = mine.decode_tokens_per_second.over(other.decode_tokens_per_second)
        for mine, other in zip(first.pasts, second.pasts, strict=True):
            found["past"][mine.prompt_tokens] = mine.decode_tokens_per_second.over(
                other.decode_tokens_per_second
            )
        for ours, theirs in zip(first.batches, second.batches, strict=True):
            found["batch"][ours.batch] = ours.tokens_per_second.over(theirs.tokens_per_second)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        ratios = {
            kind: {str(size): samples.to_json() for size, samples in by_size.items()}
            for kind, by_size in self.ratios().items()
        }
        return {
            "machine": _as_json(self.machine),
            "settings": _as_json(self.settings),
            "models": [_as_json(model) for model in self.models],
            "ratios": ratios or None,
            "notes": list(self.notes),
            "versions": dict(self.versions),
            "date": self.date,
        }


def _as_json(value: Any) -> Any:
    if isinstance(value, (Samples, Breakdown)):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        return {field.name: _as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {"all" if key is None else str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
