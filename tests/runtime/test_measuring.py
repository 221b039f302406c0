"""What a benchmark asks of the runtime: the time inside its runs, its profile, the machine's limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from genai import Generator
from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.folder import ModelFolder
from genai.runtime import Decoder, machine_limits
from genai.runtime.machine_limits import MachineLimits, measure_limits
from genai.runtime.run_clock import timed_runs

Folders = Callable[..., tuple[Path, Path]]


def test_every_run_is_timed_within_the_block_alone(model_folder: Folders) -> None:
    options = {"token_ids": [3] * 8, "max_new_tokens": 5, "ignore_eos": True, "do_sample": False}
    with Generator(model_folder("llama")[1]) as generator:
        with timed_runs() as seconds:
            result = generator.generate(**options)
        assert len(seconds) == 1 + 5  # seven tokens of the prompt together, then one token after the other
        assert 0 < sum(seconds) < result.stats.total_seconds
        generator.generate(**options)
        assert len(seconds) == 6


def test_a_profile_of_every_session(model_folder: Folders, tmp_path: Path) -> None:
    decoder = Decoder(ModelFolder.load(model_folder("llama")[1]), profile_folder=tmp_path)
    engine = Engine(decoder)
    request = Request([3] * 8, GenerationConfig(max_new_tokens=2, ignore_eos=True))
    engine.submit(request)
    engine.run([request])
    (trace,) = decoder.end_profiling()
    assert tmp_path in trace.parents
    assert "GroupQueryAttention" in trace.read_text(encoding="utf-8")


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_limits, "PRODUCT_SHAPE", (8, 32, 16))
    found = measure_limits(num_threads=1, read_bytes=1 << 16)
    assert found.read_bytes_per_second > 0
    assert found.fp32_operations_per_second > 0
    assert found.int8_operations_per_second > 0


def test_the_greater_of_each_limit_counts() -> None:
    assert MachineLimits(1, 5, 3).best(MachineLimits(4, 2, 3)) == MachineLimits(4, 5, 3)
