"""A worker answers, tells errors, and is missed where it dies."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from genai.benchmark import worker_process
from genai.benchmark.settings import OpeningOptions
from genai.benchmark.worker import serve
from genai.benchmark.worker_process import WorkerProcess
from genai.engine import GenerationResult
from genai.errors import GenaiError, GenerationError, OptionError
from genai.folder import ModelFolder


def answers_to(calls: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[Any, GenaiError | None]]:
    answers = io.BytesIO()
    serve(io.BytesIO(b"".join(map(pickle.dumps, calls))), answers)
    answers.seek(0)
    return [pickle.load(answers) for _ in calls]


def test_measurements_of_a_model(model: Path) -> None:
    opening = {
        "folder": ModelFolder.load(model),
        "options": OpeningOptions(num_threads=1),
        "num_sequences": 20,
    }
    calls = [
        ("open", opening),
        ("prompt", {"size": 40, "new_tokens": 5}),
        ("past", {"size": 30, "new_tokens": 5}),
        ("past", {"size": 30, "new_tokens": 5}),
        ("batch", {"size": 20, "new_tokens": 3}),
        ("host", {"new_tokens": 6}),
        ("memory", {}),
        ("profile", {"size": 40, "new_tokens": 4}),
    ]
    found = answers_to(calls)
    assert [error for _, error in found] == [None] * len(calls)
    opened, prompt, _, past, batch, host, _, profile = (result for result, _ in found)
    assert opened.provider == "cpu"
    assert prompt.time_to_first_token_seconds > 0
    assert past.decode_tokens_per_second > 0
    assert batch.tokens_per_second > 0
    assert 0 < host.host_seconds < host.step_seconds
    layers = 2
    by_type = {each.op_type: each.count for each in profile.step.operators}
    assert by_type["GroupQueryAttention"] == layers
    assert {each.op_type: each.count for each in profile.prompt.operators}["GroupQueryAttention"] == layers
    assert (profile.prompt.num_tokens, profile.step.num_tokens) == (39, 1)
    assert sum(each.share for each in profile.step.operators) == pytest.approx(1)


def test_a_past_is_read_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genai.benchmark.measure import Bench

    bench = Bench()
    bench.open(ModelFolder.load(model), OpeningOptions(), 1)
    cached = []
    run = bench._continue
    monkeypatch.setattr(bench, "_continue", lambda *a: cached.append(r := run(*a)) or r)
    for measure in (bench.past, bench.past, bench.prompt, bench.prompt):
        measure(30, 3)
    assert [results[0].stats.cached_prompt_tokens for results in cached[:3]] == [0, 29, 29]
    assert all(results[0].stats.cached_prompt_tokens < 5 for results in cached[3:])


def test_reading_a_past_takes_no_energy_of_its_tokens(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a warm-up, too: the meter counts the tokens that were run."""
    from genai.benchmark.measure import Bench

    class TokenMeter:
        is_readable = True
        num_tokens = 0

        def read(self) -> int:
            return self.num_tokens

        def joules_since(self, before: int) -> float:
            return float(self.num_tokens - before)

    bench = Bench()
    bench.open(ModelFolder.load(model), OpeningOptions(), 1)
    meter = TokenMeter()
    monkeypatch.setattr(bench, "_energy", meter)
    run = bench._continue

    def counted(prompts: Sequence[Sequence[int]], new_tokens: int) -> list[GenerationResult]:
        results = run(prompts, new_tokens)
        read = sum(len(prompt) for prompt in prompts) - sum(r.stats.cached_prompt_tokens for r in results)
        meter.num_tokens += read - 1 + new_tokens
        return results

    monkeypatch.setattr(bench, "_continue", counted)
    assert [bench.past(30, 3).joules_per_token for _ in range(2)] == [1.0, 1.0]


def test_errors_are_told(model: Path) -> None:
    opening = {
        "folder": ModelFolder.load(model),
        "options": OpeningOptions(num_threads=0),
        "num_sequences": 1,
    }
    (_, first), (_, second) = answers_to([("open", opening), ("nonsense", {})])
    assert isinstance(first, OptionError)
    assert "num_threads must be at least 1" in str(first)
    assert isinstance(second, GenerationError)
    assert "AttributeError" in str(second)


def test_a_process_answers_and_ends(model: Path) -> None:
    with WorkerProcess("tiny") as worker:
        opened = worker.call(
            "open", folder=ModelFolder.load(model), options=OpeningOptions(), num_sequences=1
        )
        assert opened.seconds > 0
        with pytest.raises(GenerationError, match="AttributeError"):
            worker.call("nonsense")
        assert worker.call("memory").peak_bytes is None or worker.call("memory").peak_bytes > 0
    assert worker._process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_process_that_is_killed() -> None:
    with WorkerProcess("tiny") as worker:
        worker.call("memory")
        os.kill(worker.pid, signal.SIGKILL)
        expected = r"the process that measured tiny has ended \(it was killed, perhaps for want of memory\)"
        with pytest.raises(GenerationError, match=expected):
            worker.call("memory")


def test_a_process_that_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    with WorkerProcess("tiny") as worker, pytest.raises(GenerationError, match=r"has ended \(status 3\)"):
        worker.call("memory")


def test_a_process_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", ("/nowhere/python",))
    with pytest.raises(GenerationError, match="/nowhere/python cannot be started to measure tiny"):
        WorkerProcess("tiny")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_block_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), WorkerProcess("tiny") as worker:
        worker.call("memory")
    assert time.monotonic() - start < 30
    assert worker._process.returncode == -signal.SIGKILL
