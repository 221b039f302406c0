"""What adapters ask of CUDA: nothing of the host, and no more copies than a step without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from genai import Generator
from genai.config import ExportSettings
from genai.export import carry_out, plan_export
from genai.runtime.step_buffers import StepBuffers
from tests.accelerators.counters import counted
from tests.accelerators.test_cuda_step import WAITS
from tests.adapters import make_adapter

pytestmark = pytest.mark.cuda_stub


@pytest.fixture(params=["fp16", "int4"])
def generator(
    request: pytest.FixtureRequest,
    checkpoint_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Generator]:
    checkpoint = checkpoint_of("llama")
    adapters = {
        "all": make_adapter(checkpoint, tmp_path / "all"),
        "few": make_adapter(
            checkpoint, tmp_path / "few", r=3, target_modules=["q_proj", "down_proj", "lm_head"]
        ),
    }
    settings = ExportSettings(precision=request.param, provider="cuda")
    folder = carry_out(plan_export(checkpoint, settings, adapters=adapters), tmp_path / "model")
    for file in folder.path.glob("tokenizer*"):
        file.unlink()  # what no kernel has computed is no token of its
    fetch_ids = StepBuffers.best_ids
    monkeypatch.setattr(StepBuffers, "best_ids", lambda *args: [0 for _ in fetch_ids(*args)])
    fetch_logits = StepBuffers.logits
    monkeypatch.setattr(StepBuffers, "logits", lambda *args: np.zeros_like(fetch_logits(*args)))
    with Generator(folder, provider="cuda", strict=True) as made:
        yield made


@pytest.mark.parametrize("names", [(None, None, None), ("all", "few", None), ("few", "few", "few")])
def test_a_step_of_rows_with_adapters_is_one_replay(
    generator: Generator, names: tuple[str | None, ...]
) -> None:
    streams = [
        generator.stream(
            token_ids=[1 + each, 2, 3], max_new_tokens=30, ignore_eos=True, adapter=name, do_sample=False
        )
        for each, name in enumerate(names)
    ]
    (engine,) = generator._engine.engines
    for _ in range(12):
        engine.advance()
    assert engine.num_sequences == len(names)
    with counted() as counts:
        engine.advance()
    for stream in streams:
        stream.close()
    assert counts["graph_launches"] == counts["host_to_device"] == counts["device_to_host"] == 1
    assert not counts.get("device_to_device")
    assert not counts.get("allocations")
    assert sum(counts.get(name, 0) for name in WAITS) == 1
