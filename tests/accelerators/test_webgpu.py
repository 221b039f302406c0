"""Parity of WebGPU's kernels and of caches of whole values with the CPU, on a software adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai import Generator
from genai.config import ExportSettings
from genai.export import carry_out, plan_export
from genai.folder import ModelFolder
from genai.runtime.devices import HostDevice
from genai.runtime.placement_check import check_placement
from genai.runtime.providers import PROVIDERS
from tests.adapters import make_adapter
from tests.checkpoints import make_checkpoint
from tests.export.test_quantized import with_float_activations
from tests.test_adapters import run_together

pytestmark = pytest.mark.webgpu

FAMILIES = (
    "llama",
    "qwen3",
    "phi3",
    "gemma3_text",
    "gpt2",
    "mixtral",
    "lfm2",
    "qwen3_next",
    "falcon",
    "olmo2",
    "gpt_oss",
)
PLAIN_EXPERTS = {"NonZero", "Reshape", "Flatten"}
"""What stays on the CPU where experts are plain nodes: WebGPU has no MoE in floats, and no NonZero."""

LEFT: Mapping[str, set[str]] = dict.fromkeys(("mixtral", "qwen3_next", "gpt_oss"), PLAIN_EXPERTS)
CAPTURED = ("llama", "qwen3", "phi3", "gpt2", "falcon", "olmo2")
"""Whose steps are recorded: all nodes on the device, no window (gemma3), no state of another shape (lfm2)."""

WITH_BEAMS = ("llama", "lfm2")
PROMPTS = ([5, 6, 7, 8, 9, 10], [11, 12], [3, 1, 4, 1, 5, 9, 2, 6, 5])
NUM_NEW = 5
WEBGPU = next(provider for provider in PROVIDERS if provider.name == "webgpu")

FP32 = ExportSettings(precision="fp32", provider="webgpu")
OTHER_FORMS = (
    ExportSettings(precision="fp16", provider="webgpu"),
    ExportSettings(precision="int4", provider="webgpu"),
    ExportSettings(precision="int8", provider="webgpu", activations="fp32"),
)

Folder = Callable[..., ModelFolder]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A function that exports a tiny checkpoint of a family for WebGPU, once."""
    checkpoints: dict[str, Path] = {}
    made: dict[tuple[str, str], ModelFolder] = {}

    def make(family: str, settings: ExportSettings = FP32) -> ModelFolder:
        if family not in checkpoints:
            checkpoints[family] = make_checkpoint(family, tmp_path_factory.mktemp(family) / "checkpoint")
        if (family, settings.name) not in made:
            target = checkpoints[family].parent / settings.name
            made[family, settings.name] = carry_out(plan_export(checkpoints[family], settings), target)
        return made[family, settings.name]

    return make


def continued(generator: Generator, prompts: Sequence[Sequence[int]], **options: int) -> list[list[int]]:
    """Return the greedy continuations of prompts that run together."""
    results = generator.generate(
        token_ids=prompts, max_new_tokens=NUM_NEW, ignore_eos=True, do_sample=False, **options
    )
    return [list(result.token_ids) for result in results]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_node_but_those_of_sizes_runs_there(folder_of: Folder, family: str) -> None:
    left = check_placement(folder_of(family), "webgpu").left_to_cpu(WEBGPU)
    assert left.keys() == LEFT.get(family, set())


@pytest.mark.parametrize("settings", OTHER_FORMS, ids=lambda settings: settings.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_other_forms_run_there_too(folder_of: Folder, family: str, settings: ExportSettings) -> None:
    """Placed only: the software adapter does not compute in float16."""
    left = check_placement(folder_of(family, settings), "webgpu").left_to_cpu(WEBGPU)
    assert left.keys() <= LEFT.get(family, set())


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_the_cpus(folder_of: Folder, family: str) -> None:
    """Several prompts together, then one that goes on where a cached one ended."""
    folder = folder_of(family)
    strict = family not in LEFT
    with Generator(folder, provider="cpu") as cpu, Generator(folder, provider="webgpu", strict=strict) as gpu:
        expected = continued(cpu, PROMPTS)
        assert continued(gpu, PROMPTS) == expected
        assert gpu._decoder._session.captures == (family in CAPTURED)
        longer = [*PROMPTS[0], *expected[0], 7, 8]
        assert continued(gpu, [longer]) == continued(cpu, [longer])
        if family in WITH_BEAMS:
            assert continued(gpu, PROMPTS[:1], num_beams=3) == continued(cpu, PROMPTS[:1], num_beams=3)


def test_a_conversation_goes_on_in_its_cache() -> None:
    with Generator("demo", provider="webgpu") as gpu, Generator("demo", provider="cpu") as cpu:
        assert not isinstance(gpu._decoder.cache._buffers._device, HostDevice)
        messages = [{"role": "user", "content": "Hello"}]
        first = gpu.chat(messages, max_new_tokens=6)
        assert first.token_ids == cpu.chat(messages, max_new_tokens=6).token_ids
        messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "Why?"}]
        second = gpu.chat(messages, max_new_tokens=4)
        assert second.stats.cached_prompt_tokens > 0
        assert second.token_ids == cpu.chat(messages, max_new_tokens=4).token_ids


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_context_shifts_as_the_cpus_does(folder_of: Folder, family: str) -> None:
    """Keys are turned on the host; what was recorded reads them where they lie."""
    answers = []
    for provider in ("cpu", "webgpu"):
        with Generator(folder_of(family), provider=provider, max_context=24) as generator:
            result = generator.generate(
                token_ids=PROMPTS[0],
                max_new_tokens=50,
                ignore_eos=True,
                do_sample=False,
                context_policy="shift",
            )
            answers.append(result.token_ids)
    assert answers[0] == answers[1]
    assert len(answers[0]) == 50


def test_what_was_recorded_over_a_cache_that_moved_is_forgotten(folder_of: Folder) -> None:
    with Generator(folder_of("llama"), provider="webgpu") as gpu:
        decoder = gpu._decoder
        for count in (1, 3, 6):
            epoch = decoder.cache.epoch
            continued(gpu, [[5, 6, each] for each in range(count)])
            assert decoder.cache.epoch > epoch
            assert len(decoder._session._session._captured_graph_bindings) == count


def test_rows_move_in_part_and_grow(folder_of: Folder) -> None:
    """Values are copied within the device as a whole, and through the host in part."""
    with Generator(folder_of("llama"), provider="webgpu") as gpu:
        device = gpu._decoder.cache._buffers._device
        values = np.random.default_rng(0).normal(size=(2, 2, 5, 3)).astype(np.float32)
        source, target = device.allocate(values.shape, np.float32), device.allocate((2, 2, 9, 3), np.float32)
        device.copy_in(values, source)
        back = np.empty_like(values)
        device.copy_out(source, back)
        np.testing.assert_array_equal(back, values)
        device.copy_positions(source.rows(1, 1), target.rows(0, 1), 4)
        device.copy_positions(source.rows(0, 1), target.rows(0, 1), 2, source_start=1, target_start=4)
        moved = np.empty((1, 2, 9, 3), np.float32)
        device.copy_out(target.rows(0, 1), moved)
        np.testing.assert_array_equal(moved[0, :, :4], values[1, :, :4])
        np.testing.assert_array_equal(moved[0, :, 4:6], values[0, :, 1:3])
        device.copy_positions(source.rows(0, 1), source.rows(1, 1), 5)
        device.copy_out(source, back)
        np.testing.assert_array_equal(back[1], values[0])


ADAPTED = {
    "llama": FP32,
    "llama in 4 bits": ExportSettings(precision="int4", block_size=32, provider="webgpu", activations="fp32"),
    "gemma3_text": FP32,  # of which no steps are recorded
    "lfm2": FP32,  # nor here; some of its layers have other products
}


@pytest.mark.parametrize("form", ADAPTED)
def test_adapters_are_the_cpus_alone_and_together(form: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(form.split()[0], tmp_path / "checkpoint")
    configs: dict[str, dict[str, Any]] = {"all": {}, "few": {"r": 3}}
    if "llama" in form:
        configs["few"]["target_modules"] = ["q_proj", "down_proj", "lm_head"]
    adapters = {
        name: make_adapter(checkpoint, tmp_path / name, seed=seed, **config)
        for seed, (name, config) in enumerate(configs.items())
    }
    folder = with_float_activations(
        carry_out(plan_export(checkpoint, ADAPTED[form], adapters=adapters), tmp_path / "model")
    )
    names = ("few", None, "all", "few")
    prompts = [[*PROMPTS[0], each] for each in range(len(names))]
    options: dict[str, Any] = {"max_new_tokens": NUM_NEW, "ignore_eos": True, "do_sample": False}
    with Generator(folder, provider="cpu") as cpu, Generator(folder, provider="webgpu", strict=True) as gpu:
        assert gpu._decoder._session.captures == ("llama" in form)
        for name in (None, *adapters):
            found, expected = (each.logits(token_ids=PROMPTS[2], adapter=name) for each in (gpu, cpu))
            np.testing.assert_allclose(found, expected, atol=1e-3)
        together = run_together(gpu, prompts, names, **options)
        for prompt, name, request in zip(prompts, names, together, strict=True):
            expected = cpu.generate(token_ids=prompt, adapter=name, **options).token_ids
            assert request.result is not None
            assert request.result.token_ids == expected
            assert gpu.generate(token_ids=prompt, adapter=name, **options).token_ids == expected
