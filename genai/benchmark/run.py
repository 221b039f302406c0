"""A whole benchmark: one model, or two in turns, each in a process of its own."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genai import __version__
from genai.benchmark.energy import EnergyMeter
from genai.benchmark.report import BenchmarkReport, Machine
from genai.benchmark.settings import BATCH_PROMPT_TOKENS, BenchmarkSettings, OpeningOptions
from genai.benchmark.summary import Measurements, Subject, summarize
from genai.benchmark.worker_process import WorkerProcess
from genai.config import check_run_options
from genai.errors import GenaiError
from genai.folder import ModelFolder
from genai.hub import Progress
from genai.prepare import prepare_model
from genai.runtime.installed import runtime_version
from genai.runtime.machine_limits import MachineLimits
from genai.runtime.providers import preferred_provider
from genai.runtime.providers.hardware import cpu_name

__all__ = ["benchmark_model"]

NUM_LOADS = 3
MAX_PROFILED_TOKENS = 512
NUM_PROFILED_STEPS = 16


def benchmark_model(
    model: str | Path | ModelFolder,
    *,
    compare: str | Path | ModelFolder | None = None,
    settings: BenchmarkSettings | None = None,
    opening: OpeningOptions | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> BenchmarkReport:
    """Measure how fast a model is, or two in turns, each in a process of its own.

    Args:
        model: A model folder, a checkpoint, an alias or a hub id, as for `Generator`.
        compare: Another model to measure in turns with it: every repeat runs both.
        settings: What is measured, and how often.
        opening: How the models are opened.
        names: What the report calls the models; None takes their folders' names.
        progress: Called with (what, measurements done, measurements in all).

    Raises:
        OptionError: A length does not fit the context, or an option is unknown or impossible.
        GenaiError: A model cannot be had, opened or run, or its process has died.
    """
    settings, opening = settings or BenchmarkSettings(), opening or OpeningOptions()
    check_run_options(OpeningOptions, **opening)
    folders = [_folder(each, opening) for each in ([model] if compare is None else [model, compare])]
    names = names or [folder.path.name for folder in folders]
    subjects = [_subject(name, folder, opening) for name, folder in zip(names, folders, strict=True)]
    contexts = [folder.decoder.context_length for folder in folders]
    if (max_context := opening.get("max_context")) is not None:
        contexts.append(max_context)
    settings, notes = settings.fit(min(contexts))
    return _Benchmark(subjects, settings, opening, progress).run(notes)


class _Benchmark:
    """The order of the measurements, and the processes that take them."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: BenchmarkSettings,
        opening: OpeningOptions,
        progress: Progress | None,
    ) -> None:
        self._subjects = subjects
        self._settings = settings
        self._opening = opening
        self._progress = progress
        self._measured = [Measurements() for _ in subjects]
        self._limits: dict[int | None, MachineLimits] = {}  # by number of threads
        self._failures: list[str] = []
        self._num_done = 0

    def run(self, notes: Sequence[str]) -> BenchmarkReport:
        """Measure everything; `notes` are what has been left out already."""
        with contextlib.ExitStack() as stack:
            workers = self._open(stack)
            self._measure_limits("before")
            self._measure(workers)
            for worker, subject, measured in zip(workers, self._subjects, self._measured, strict=True):
                try:
                    measured.profile = self._profile(worker)
                except GenaiError as error:  # all else has been measured
                    self._failures.append(f"no profile of {subject.name}: {error}")
            self._measure_limits("after")  # a machine that others use is not always the same
        models = tuple(
            summarize(subject, measured, new_tokens=self._settings.new_tokens, limits=self._limits)
            for subject, measured in zip(self._subjects, self._measured, strict=True)
        )
        first = next((model for model in models if model.limits is not None), models[0])
        return BenchmarkReport(
            machine=Machine(cpu_name(), _num_cpus(), first.num_threads, first.limits),
            settings=self._settings,
            models=models,
            notes=(*notes, *self._failures, *self._missing()),
            versions={"genai": __version__, "onnxruntime": runtime_version()},
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def _missing(self) -> Iterator[str]:
        """Say what could not be measured on this machine, or of these models."""
        if not EnergyMeter().is_readable:
            yield "no energy: this system does not let it be read (Linux: /sys/class/powercap)"
        for subject, measured in zip(self._subjects, self._measured, strict=True):
            if measured.profile is not None and measured.provider != "cpu":
                yield (
                    f"the operators of {subject.name} are what the host takes to submit them to {measured.provider}, and "
                    "recorded steps have none"
                )
            if not self._settings.limits:
                continue
            if measured.provider != "cpu":
                yield f"no share of the limits for {subject.name}: those of {measured.provider} are not measured"
            elif subject.work is None or subject.work.cache is None:
                yield f"no share of the limits: the graph of {subject.name} does not tell all that a token reads"

    def _open(self, stack: contextlib.ExitStack) -> list[WorkerProcess]:
        """Load every model several times, each in a new process, in turns; return the last processes."""
        workers = []
        for number in range(NUM_LOADS):
            for subject, measured in zip(self._subjects, self._measured, strict=True):
                with contextlib.ExitStack() as own:
                    start = time.perf_counter()
                    worker = own.enter_context(WorkerProcess(subject.name))
                    opened = worker.call(
                        "open",
                        folder=subject.folder,
                        options=self._opening,
                        num_sequences=max(self._settings.batch, default=1),
                    )
                    measured.process_seconds.append(time.perf_counter() - start)
                    measured.opened.append(opened)
                    if number == NUM_LOADS - 1:
                        stack.push(own.pop_all())
                        workers.append(worker)
                self._advance()
        return workers

    def _measure(self, workers: Sequence[WorkerProcess]) -> None:
        """Take every measurement of every model as often as it is to be repeated."""
        settings = self._settings
        assert settings.prompt_tokens is not None
        self._note_memory(workers)
        for stage in (
            {"prompt": settings.prompt_tokens, "past": settings.past},
            {"batch": settings.batch},
        ):
            for kind, size in ((kind, size) for kind, sizes in stage.items() for size in sizes):
                samples = self._in_turns(workers, kind, size=size)
                for measured, own in zip(self._measured, samples, strict=True):
                    getattr(measured, kind)[size] = own
            self._note_memory(workers)
        for measured, own in zip(self._measured, self._in_turns(workers, "host"), strict=True):
            measured.host = own

    def _note_memory(self, workers: Sequence[WorkerProcess]) -> None:
        """Ask every process what it has taken until now."""
        for worker, measured in zip(workers, self._measured, strict=True):
            measured.memory.append(worker.call("memory"))

    def _in_turns(self, workers: Sequence[WorkerProcess], kind: str, **arguments: Any) -> list[list[Any]]:
        """Take one measurement of every model, repeat by repeat; return them by model."""
        samples: list[list[Any]] = [[] for _ in workers]
        for number in range(self._settings.warmup + self._settings.repeats):
            for worker, own in zip(workers, samples, strict=True):
                sample = worker.call(kind, new_tokens=self._settings.new_tokens, **arguments)
                if number >= self._settings.warmup:
                    own.append(sample)
                self._advance()
        return samples

    def _profile(self, worker: WorkerProcess) -> Any:
        """Return a profile of a prompt of moderate length, and of the steps after it; None if it was not asked for."""
        settings = self._settings
        if not settings.profile:
            return None
        lengths = [*(settings.prompt_tokens or ()), *settings.past] or [BATCH_PROMPT_TOKENS]
        size = max((length for length in lengths if length <= MAX_PROFILED_TOKENS), default=min(lengths))
        profile = worker.call("profile", size=size, new_tokens=min(settings.new_tokens, NUM_PROFILED_STEPS))
        self._advance()
        return profile

    def _measure_limits(self, when: str) -> None:
        """Measure what the CPU can do, in a process of its own, or note why not; the best of all times counts."""
        if not self._settings.limits:
            return
        pairs = zip(self._subjects, self._measured, strict=True)
        on_cpu = dict.fromkeys(subject.num_threads for subject, each in pairs if each.provider == "cpu")
        for num_threads in on_cpu:
            try:
                with WorkerProcess("the machine") as worker:
                    found: MachineLimits = worker.call("limits", num_threads=num_threads)
            except GenaiError as error:  # the models can be measured without
                self._failures.append(f"the machine's limits were not measured {when} the models: {error}")
            else:
                self._limits[num_threads] = found.best(self._limits.get(num_threads, found))

    def _advance(self) -> None:
        """Tell the caller that one more measurement is done."""
        self._num_done += 1
        if self._progress is None:
            return
        settings = self._settings
        num_cases = len(settings.prompt_tokens or ()) + len(settings.past) + len(settings.batch) + 1
        of_each = NUM_LOADS + num_cases * (settings.warmup + settings.repeats) + settings.profile
        what = " and ".join(subject.name for subject in self._subjects)
        self._progress(f"Measuring {what}", self._num_done, len(self._subjects) * of_each)


def _folder(model: str | Path | ModelFolder, opening: OpeningOptions) -> ModelFolder:
    if isinstance(model, ModelFolder):
        return model
    return prepare_model(model, provider=preferred_provider(opening))


def _subject(name: str, folder: ModelFolder, opening: OpeningOptions) -> Subject:
    # Imported here: a model's process, which imports this package, has no use for it.
    from genai.benchmark.work import work_of
    from genai.evaluation.graphs import read_graphs

    graphs = read_graphs(folder)
    precision = folder.manifest.precision if folder.manifest else graphs.precision
    configured = folder.decoder.session_options.get("intra_op_num_threads")
    return Subject(
        name=name,
        folder=folder,
        precision=precision,
        num_bytes=graphs.num_bytes,
        work=work_of(graphs, folder.decoder.stages),
        num_threads=opening.get("num_threads") or configured or None,
    )


def _num_cpus() -> int:
    """Return how many of the processor's threads this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
