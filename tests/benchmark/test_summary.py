"""Medians, shares and ratios of measurements that are given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from genai.benchmark import BenchmarkReport, BenchmarkSettings
from genai.benchmark.measure import BatchSample, HostSample, Opened, PromptSample
from genai.benchmark.memory import MemoryUse
from genai.benchmark.report import Machine, ModelReport
from genai.benchmark.summary import Measurements, Subject, summarize
from genai.benchmark.work import CacheRead, Work
from genai.folder import ModelFolder
from genai.runtime.machine_limits import MachineLimits

LIMITS = MachineLimits(1000.0, 100.0, 400.0)
WORK = Work(
    60, int8_macs=40, float_macs=5, head_int8_macs=20, head_float_macs=10, cache=CacheRead({None: 2, 6: 1}, 8)
)


def report_of(model: Path, speeds: Sequence[float], *, work: Work | None = WORK) -> ModelReport:
    """The report of a model whose every speed is one of these, and whose first token takes 10 seconds over it."""
    prompts = [PromptSample(10 / speed, speed, speed / 2) for speed in speeds]
    measured = Measurements(
        process_seconds=[3.0, 1.0, 2.0],
        opened=[Opened("cpu", 0.5)],
        prompt={10: prompts},
        past={20: [PromptSample(0.1, speed, None) for speed in speeds]},
        batch={4: [BatchSample(speed, None) for speed in speeds]},
        host=[HostSample(2.0, 0.5)],
        memory=[MemoryUse(50, 40), MemoryUse(80, 40), MemoryUse(100, None)],
    )
    subject = Subject("name", ModelFolder.load(model), "fp32", 7, work, None)
    return summarize(subject, measured, new_tokens=8, limits={None: LIMITS})


def test_figures_and_shares(model: Path) -> None:
    report = report_of(model, [4.0, 2.0, 3.0])
    assert report.memory.one_sequence.peak_bytes == 80
    assert report.memory.batches == MemoryUse(100, None)
    assert report.load.process_seconds.median == 2.0
    [prompt], [past], [batch] = report.prompts, report.pasts, report.batches
    assert prompt.time_to_first_token_seconds is not None
    assert prompt.time_to_first_token_seconds.values == (2.5, 5.0, 10 / 3)
    assert prompt.prompt_tokens_per_second is not None
    assert prompt.prompt_tokens_per_second.values == pytest.approx((4.0, 2.0, 3.0))
    ideal = 2 * ((10 * 40 + 20) / 400 + (10 * 5 + 10) / 100)
    assert prompt.prompt_share == pytest.approx(ideal / (10 / 3))
    assert prompt.joules_per_token is not None
    assert prompt.joules_per_token.median == 1.5
    assert prompt.decode_share == pytest.approx((60 + 8 + 14 * 2 + 6) * 3.0 / 1000)
    assert past.decode_share == pytest.approx((60 + 8 + 24 * 2 + 6) * 3.0 / 1000)
    assert (past.time_to_first_token_seconds, past.prompt_share, past.joules_per_token) == (None, None, None)
    assert (batch.batch, batch.tokens_per_second.median) == (4, 3.0)
    assert batch.tokens_per_second.spread == 0.5
    assert report.host.host_share.median == 0.25


def test_no_share_of_work_that_is_not_known(model: Path) -> None:
    report = report_of(model, [4.0], work=None)
    assert (report.prompts[0].prompt_share, report.prompts[0].decode_share) == (None, None)


def test_ratios_are_taken_within_a_repeat(model: Path) -> None:
    """The machine was ten times as slow in the second repeat; the ratios do not see it."""
    mine, other = (report_of(model, speeds) for speeds in ([4.0, 0.4, 4.4], [2.0, 0.2, 2.0]))
    report = BenchmarkReport(
        machine=Machine("cpu", 2, None, LIMITS),
        settings=BenchmarkSettings(),
        models=(mine, other),
        notes=("a note",),
        versions={"genai": "1"},
        date="2026-01-01T00:00:00+00:00",
    )
    ratios = report.ratios()
    assert {kind: list(sizes) for kind, sizes in ratios.items()} == {
        "prompt": [10],
        "decode": [10],
        "past": [20],
        "batch": [4],
    }
    for by_size in ratios.values():
        for samples in by_size.values():
            assert samples.values == pytest.approx((2.0, 2.0, 2.2))
            assert samples.median == pytest.approx(2.0)
    value = json.loads(json.dumps(report.to_json()))
    assert value["ratios"]["past"]["20"]["median"] == pytest.approx(2.0)
    assert value["models"][0]["work"]["cache"] == {"windows": {"all": 2, "6": 1}, "state_bytes": 8}
    assert value["machine"]["limits"]["int8_operations_per_second"] == 400.0
    assert BenchmarkReport(report.machine, report.settings, (mine,), (), {}, "").to_json()["ratios"] is None
