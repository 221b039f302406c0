"""What one step of a generation asks of CUDA: one copy in, one replayed graph, one synchronization, a few bytes out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genai import Generator
from genai.errors import GenaiError, OptionError, ProviderError
from genai.folder import ModelFolder
from genai.runtime.layer_outputs import layer_outputs
from tests.accelerators.counters import counted, device_memory, live_bytes
from tests.accelerators.models import export

pytestmark = pytest.mark.cuda_stub

COPIES = ("host_to_device", "device_to_host", "device_to_device")
WAITS = ("stream_synchronizations", "device_synchronizations", "event_synchronizations")


@pytest.fixture(params=["llama", "qwen3_next"], ids=["keys and values", "states"])
def generator(
    request: pytest.FixtureRequest, checkpoint_of: Callable[[str], Path], tmp_path: Path
) -> Iterator[Generator]:
    folder = export(checkpoint_of(request.param), tmp_path / "model", provider="cuda", precision="int4")
    for file in folder.glob("tokenizer*"):
        file.unlink()  # what no kernel has computed is no token of its
    with Generator(folder, provider="cuda") as made:
        buffers = made._decoder._decoding._buffers
        fetch = buffers.best_ids
        buffers.best_ids = lambda count: [
            0 for _ in fetch(count)
        ]  # or what no kernel has computed may be no id
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
