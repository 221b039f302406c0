"""A whole benchmark: everything is measured, in turns, in processes of their own."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from genai.benchmark import BenchmarkSettings, OpeningOptions, benchmark_model, plot_benchmark
from genai.benchmark import run as run_module
from genai.benchmark.measure import BatchSample, HostSample, Opened, PromptSample
from genai.benchmark.memory import MemoryUse
from genai.cli.benchmark_tables import format_report
from genai.errors import GenerationError, ModelFolderError, OptionError, OutOfMemoryError
from genai.folder import ModelFolder
from genai.runtime.machine_limits import MachineLimits


def test_everything_of_one_model(model: Path, once: BenchmarkSettings) -> None:
    seen: list[tuple[int, int]] = []
    report = benchmark_model(model, settings=once, progress=lambda _, done, total: seen.append((done, total)))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    (found,) = report.models
    assert (found.model, found.path, found.precision, found.provider) == ("model", model, "fp32", "cpu")
    assert [each.prompt_tokens for each in found.prompts] == [8, 16]
    assert [each.prompt_tokens for each in found.pasts] == [24]
    assert [each.batch for each in found.batches] == [1, 3]
    for each in (*found.prompts, *found.pasts):
        assert len(each.decode_tokens_per_second.values) == 2
        assert each.decode_share is None
    assert len(found.load.process_seconds.values) == 3
    assert found.load.process_seconds.median > found.load.open_seconds.median
    assert found.profile is not None
    assert found.profile.prompt is not None
    assert found.profile.prompt.num_tokens == 23
    if sys.platform == "linux":
        peaks = [getattr(found.memory, stage).peak_bytes for stage in ("loaded", "one_sequence", "batches")]
        assert 0 < peaks[0] <= peaks[1] <= peaks[2]
    assert report.machine.limits is None
    assert report.versions.keys() == {"genai", "onnxruntime"}


class FakeWorker:
    """Takes no time, and writes down what it was asked."""

    log: list[tuple[str, str, Any]]

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append((self.name, "end", None))

    def call(self, kind: str, **arguments: Any) -> Any:
        self.log.append((self.name, kind, arguments.get("size")))
        speed = 2.0 if self.name == "a" else 1.0
        return {
            "open": Opened("cpu", 0.1),
            "prompt": PromptSample(1 / speed, speed, None),
            "past": PromptSample(1 / speed, speed, None),
            "batch": BatchSample(speed, None),
            "host": HostSample(1.0, 0.1),
            "memory": MemoryUse(1, 1),
            "limits": MachineLimits(1.0, 1.0, 1.0),
            "profile": None,
        }[kind]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    log: list[tuple[str, str, Any]] = []
    monkeypatch.setattr(FakeWorker, "log", log, raising=False)
    monkeypatch.setattr(run_module, "WorkerProcess", FakeWorker)
    return log


def test_two_models_take_turns(model: Path, log: list[tuple[str, str, Any]], tmp_path: Path) -> None:
    settings = BenchmarkSettings(prompt_tokens=(8,), past=(9,), batch=(2,), new_tokens=4, repeats=2)
    report = benchmark_model(model, compare=model, settings=settings, names=("a", "b"))
    turns = [("a", "b"), ("a", "b"), ("a", "b")]  # a warm-up and two repeats
    for kind, size in (("prompt", 8), ("past", 9), ("batch", 2), ("host", None)):
        expected = [(name, kind, size) for turn in turns for name in turn]
        assert [entry for entry in log if entry[1] == kind] == expected
    opened = [entry[0] for entry in log if entry[1] == "open"]
    assert opened == ["a", "b"] * 3
    assert [entry[0] for entry in log if entry[1] == "limits"] == ["the machine"] * 2
    assert (
        sorted(entry[0] for entry in log if entry[1] == "end") == ["a"] * 3 + ["b"] * 3 + ["the machine"] * 2
    )
    assert {samples.median for sizes in report.ratios().values() for samples in sizes.values()} == {2.0}
    assert report.machine.limits == MachineLimits(1.0, 1.0, 1.0)
    pytest.importorskip("matplotlib")
    path = tmp_path / "speed.svg"
    plot_benchmark(report, path)
    assert "tokens before" in path.read_text(encoding="utf-8")


def test_what_an_accelerator_leaves_out(
    model: Path, log: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = FakeWorker.call

    def on_gpu(self: FakeWorker, kind: str, **arguments: Any) -> Any:
        found = call(self, kind, **arguments)
        return Opened("cuda", 0.1) if kind == "open" else found

    monkeypatch.setattr(FakeWorker, "call", on_gpu)
    settings = BenchmarkSettings(prompt_tokens=(8,), batch=(), new_tokens=4)
    report = benchmark_model(model, settings=settings)
    assert "no share of the limits for model: those of cuda are not measured" in report.notes
    assert not [entry for entry in log if entry[1] == "limits"]


@pytest.mark.parametrize("on_gpu", ["a", "b"])
def test_limits_are_those_of_the_model_on_the_cpu(
    model: Path, log: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch, on_gpu: str
) -> None:
    call = FakeWorker.call

    def one_on_gpu(self: FakeWorker, kind: str, **arguments: Any) -> Any:
        found = call(self, kind, **arguments)
        return Opened("cuda", 0.1) if kind == "open" and self.name == on_gpu else found

    monkeypatch.setattr(FakeWorker, "call", one_on_gpu)
    settings = BenchmarkSettings(prompt_tokens=(8,), batch=(), new_tokens=4)
    report = benchmark_model(model, compare=model, settings=settings, names=("a", "b"))
    assert [entry[0] for entry in log if entry[1] == "limits"] == ["the machine"] * 2
    assert report.machine.limits == MachineLimits(1.0, 1.0, 1.0)
    for each in report.models:
        is_on_gpu = each.model == on_gpu
        assert (each.limits is None) == (each.prompts[0].decode_share is None) == is_on_gpu
    notes = [note for note in report.notes if "share" in note]
    assert notes == [f"no share of the limits for {on_gpu}: those of cuda are not measured"]


def test_limits_are_measured_with_the_threads_of_each_model(
    model: Path, log: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ModelFolder.load(model)
    decoder = dataclasses.replace(first.decoder, session_options={"intra_op_num_threads": 3})
    second = dataclasses.replace(first, decoder=decoder)
    call = FakeWorker.call

    def by_threads(self: FakeWorker, kind: str, **arguments: Any) -> Any:
        found = call(self, kind, **arguments)
        return MachineLimits(arguments["num_threads"] or 1, 1, 1) if kind == "limits" else found

    monkeypatch.setattr(FakeWorker, "call", by_threads)
    settings = BenchmarkSettings(prompt_tokens=(8,), batch=(), new_tokens=4)
    report = benchmark_model(first, compare=second, settings=settings, names=("b", "c"))
    assert [each.num_threads for each in report.models] == [None, 3]
    assert [each.limits for each in report.models] == [MachineLimits(1, 1, 1), MachineLimits(3, 1, 1)]
    shares = [each.prompts[0].decode_share or 0 for each in report.models]
    assert shares[0] == pytest.approx(3 * shares[1])
    assert (report.machine.num_threads, report.machine.limits) == (None, MachineLimits(1, 1, 1))
    told = format_report(report).split("\n\n")[0]
    assert "ONNX Runtime's choice of threads: at most" in told
    assert "3 threads: at most" in told
    same = benchmark_model(
        first, compare=second, settings=settings, opening=OpeningOptions(num_threads=2), names=("b", "c")
    )
    assert [each.num_threads for each in same.models] == [2, 2]
    assert [entry[1] for entry in log].count("limits") == 4 + 2


def test_a_profile_that_fails_costs_nothing_else(
    model: Path, log: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = FakeWorker.call

    def without_profile(self: FakeWorker, kind: str, **arguments: Any) -> Any:
        if kind == "profile":
            assert arguments["size"] == 64  # nothing but batches
            raise GenerationError("the trace is empty")
        return call(self, kind, **arguments)

    monkeypatch.setattr(FakeWorker, "call", without_profile)
    report = benchmark_model(model, settings=BenchmarkSettings(prompt_tokens=(), batch=(2,), new_tokens=4))
    assert report.models[0].profile is None
    assert "no profile of model: the trace is empty" in report.notes


@pytest.mark.parametrize("failing", [{1}, {2}, {1, 2}])
def test_limits_that_fail_cost_nothing_else(
    model: Path, log: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch, failing: set[int]
) -> None:
    call = FakeWorker.call

    def without_limits(self: FakeWorker, kind: str, **arguments: Any) -> Any:
        found = call(self, kind, **arguments)
        if kind == "limits" and [entry[1] for entry in log].count("limits") in failing:
            raise OutOfMemoryError("no room for 512 MiB")
        return found

    monkeypatch.setattr(FakeWorker, "call", without_limits)
    report = benchmark_model(model, settings=BenchmarkSettings(prompt_tokens=(8,), batch=(), new_tokens=4))
    assert report.models[0].prompts[0].decode_tokens_per_second.median == 1.0
    assert report.machine.limits == (None if failing == {1, 2} else MachineLimits(1.0, 1.0, 1.0))
    times = {1: "before", 2: "after"}
    assert [note for note in report.notes if "512 MiB" in note] == [
        f"the machine's limits were not measured {times[number]} the models: no room for 512 MiB"
        for number in sorted(failing)
    ]


@pytest.mark.parametrize(
    ("settings", "opening", "message"),
    [
        ({"prompt_tokens": (9_000_000,)}, {}, "9000000 tokens and 64 new ones do not fit the context of"),
        ({}, {"max_context": 20}, "64 tokens and 64 new ones do not fit the context of 20 tokens"),
    ],
)
def test_lengths_that_do_not_fit(
    model: Path, settings: dict[str, Any], opening: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        benchmark_model(model, settings=BenchmarkSettings(**settings), opening=OpeningOptions(**opening))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("max_contxt", "max_context"), ("provder", "provider"), ("num_thread", "num_threads")],
)
def test_an_unknown_option_is_refused_before_a_model_is_looked_for(name: str, nearest: str) -> None:
    opening: Any = {name: 1}
    with pytest.raises(OptionError, match=f'unknown option "{name}". Did you mean "{nearest}"'):
        benchmark_model("nowhere", opening=opening)


def test_a_model_that_cannot_be_opened(model: Path, once: BenchmarkSettings, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(model, tmp_path / "broken"))
    (folder / "model.onnx.data").write_bytes(b"")
    with pytest.raises(ModelFolderError, match="cannot be loaded"):
        benchmark_model(folder, settings=once)
