"""What one step of a generation asks of CUDA: one copy in, one replayed graph, one synchronization, a few bytes out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai import Generator
from genai.errors import GenaiError, OptionError, ProviderError
from genai.folder import ModelFolder
from genai.model import Span
from genai.runtime.binding import run
from genai.runtime.layer_outputs import layer_outputs
from genai.runtime.step_buffers import StepBuffers
from tests.accelerators.counters import counted, device_memory, live_bytes
from tests.accelerators.models import export

pytestmark = pytest.mark.cuda_stub

COPIES = ("host_to_device", "device_to_host", "device_to_device")
WAITS = ("stream_synchronizations", "device_synchronizations", "event_synchronizations")


@pytest.fixture(autouse=True)
def _plain_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no kernel has computed may be no number, and no id: it is fetched, and taken for zeros."""
    fetch_logits, fetch_ids = StepBuffers.logits, StepBuffers.best_ids
    monkeypatch.setattr(StepBuffers, "logits", lambda *args: np.zeros_like(fetch_logits(*args)))
    monkeypatch.setattr(StepBuffers, "best_ids", lambda *args: [0 for _ in fetch_ids(*args)])


@pytest.fixture(params=["llama", "qwen3_next"], ids=["keys and values", "states"])
def generator(
    request: pytest.FixtureRequest, checkpoint_of: Callable[[str], Path], tmp_path: Path
) -> Iterator[Generator]:
    folder = export(checkpoint_of(request.param), tmp_path / "model", provider="cuda", precision="int4")
    for file in folder.glob("tokenizer*"):
        file.unlink()  # what no kernel has computed is no token of its
    with Generator(folder, provider="cuda") as made:
        yield made


def step_of(generator: Generator, *, num_sequences: int, **options: Any) -> dict[str, int]:
    """Return what is counted in one step of some sequences, late enough for every run to have been recorded."""
    streams = [
        generator.stream(token_ids=[1 + each, 2, 3], max_new_tokens=30, ignore_eos=True, **options)
        for each in range(num_sequences)
    ]
    (engine,) = generator._engine.engines
    for _ in range(12):
        engine.advance()
    assert engine.num_sequences == num_sequences
    with counted() as counts:
        engine.advance()
    for stream in streams:
        stream.close()
    return counts


@pytest.mark.parametrize("num_sequences", [1, 3, 8])
def test_a_greedy_step(generator: Generator, num_sequences: int) -> None:
    counts = step_of(generator, num_sequences=num_sequences)
    assert {name: counts.get(name, 0) for name in COPIES} == {
        "host_to_device": 1,
        "device_to_host": 1,
        "device_to_device": 0,
    }
    assert counts["graph_launches"] == 1
    assert sum(counts.get(name, 0) for name in WAITS) == 1
    assert counts["device_to_host_bytes"] <= 8 * 8, "the ids of a block of rows"
    assert not counts.get("allocations")


def test_a_sampled_step_fetches_logits_of_half_precision(generator: Generator) -> None:
    counts = step_of(generator, num_sequences=2, temperature=0.8, seed=1)
    assert (counts["host_to_device"], counts["device_to_host"], counts["graph_launches"]) == (1, 1, 1)
    assert counts["device_to_host_bytes"] == 2 * 2 * generator.vocab_size


def test_a_prompt_that_is_given_up_leaves_a_session_that_records_and_replays(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = step_of(generator, num_sequences=3)
    decoder, prompt = generator._decoder, [1 + each % 9 for each in range(60)]
    slot = decoder.cache.acquire(prompt)
    assert slot is not None
    num_held = len(slot.token_ids)
    with monkeypatch.context() as patch:
        patch.setattr(
            "genai.runtime.stoppable_runs.run", lambda binding: (decoder.give_up([slot]), run(binding))
        )
        decoder.run([Span(slot, prompt[num_held:])])
    assert slot.token_ids == prompt[:num_held]
    decoder.run([Span(slot, prompt[num_held:])])
    assert slot.token_ids == prompt
    decoder.cache.reset()  # so that rows lie where they lay
    assert step_of(generator, num_sequences=3) == before


def test_the_cache_is_planned_within_what_is_free(
    checkpoint_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = export(checkpoint_of("llama"), tmp_path / "model", provider="cuda", precision="fp16")
    with device_memory(live_bytes() + (8 << 20)), Generator(folder, provider="cuda") as generator:
        assert generator._decoder.cache.shape.max_bytes <= 8 << 20
    with (
        device_memory(live_bytes() + 1000),
        pytest.raises(ProviderError, match=r"the weights take .* MiB, and 0 MiB are free on cuda:0"),
    ):
        Generator(folder, provider="cuda")


def test_a_device_that_is_not_there_is_refused(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = export(checkpoint_of("llama"), tmp_path / "model", provider="cuda", precision="fp16")
    with pytest.raises((OptionError, ProviderError)):
        Generator(folder, provider="cuda", device_id=7)


def test_two_generators_at_a_time_break_nothing(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = export(checkpoint_of("llama"), tmp_path / "model", provider="cuda", precision="int4")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    errors: list[GenaiError] = []

    def run(generator: Generator) -> None:
        try:
            for count in (1, 3, 2, 5):
                prompts = [[1 + each, 2, 3] for each in range(count)]
                generator.generate(token_ids=prompts, max_new_tokens=300, ignore_eos=True, temperature=1.0)
        except GenaiError as error:
            errors.append(error)

    with (
        Generator(folder, provider="cuda", kv_cache_bytes=4 << 20) as one,
        Generator(folder, provider="cuda", kv_cache_bytes=4 << 20) as two,
        counted() as counts,
    ):
        threads = [threading.Thread(target=run, args=(each,)) for each in (one, two) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    assert counts["captures"] > 2


def test_layers_are_looked_into(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = export(checkpoint_of("llama"), tmp_path / "model", provider="cuda", precision="fp16")
    found = layer_outputs(ModelFolder.load(folder), [1, 2, 3], provider="cuda")
    assert all(len(each) == 3 for each in found)
