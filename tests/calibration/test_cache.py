"""A KV cache of 8-bit codes: it computes what transformers does over a cache that is rounded to the same codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from genai import Generator
from genai.calibration import CalibrationText, export_calibrated
from genai.calibration import cache as cache_module
from genai.calibration.cache import MARGIN, peaks_of, scales_for
from genai.calibration.corpus import cut_sequences
from genai.calibration.layer_run import run_layer_cache
from genai.config import ExportSettings
from genai.errors import OptionError, UnsupportedModelError
from genai.evaluation import validate_folder
from genai.export import carry_out, plan_export
from genai.export.architecture.rope import RopeSpec
from genai.folder import ModelFolder
from genai.graph.names import KEY, VALUE
from genai.text import Tokenizer
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner
from tests.foreign.reference import greedy_by_genai, greedy_by_onnxruntime_genai, make_prompts

Make = Callable[..., ModelFolder]
Scales = Mapping[tuple[int, str], NDArray[np.float32]]

TOKENS = np.random.default_rng(7).integers(3, VOCAB_SIZE, 60).tolist()


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory, text: CalibrationText) -> Make:
    """A function that exports a random checkpoint of a family with a cache of codes, once; it lies beside the folder."""
    made: dict[tuple[Any, ...], ModelFolder] = {}

    def make(family: str, **settings: Any) -> ModelFolder:
        key = (family, *sorted(settings.items()))
        if key not in made:
            root = tmp_path_factory.mktemp(family)
            checkpoint = make_checkpoint(family, root / "checkpoint")
            chosen = ExportSettings(**{"precision": "fp32", "kv_precision": "int8", **settings})
            plan = plan_export(checkpoint, chosen)
            made[key] = (
                export_calibrated(plan, root / "model", text=text)
                if chosen.needs_text
                else carry_out(plan, root / "model")
            )
        return made[key]

    return make


def checkpoint_of(folder: ModelFolder) -> Path:
    return folder.path.parent / "checkpoint"


def scales_of(folder: ModelFolder) -> Scales:
    """The scales in a folder's graph by layer and state: float32 [heads, head_dim]."""
    model = onnx.load(folder.model_path)
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return {
        (int(name.split(".")[1]), state): array[0, :, 0].copy()
        for name, array in arrays.items()
        for state in (KEY, VALUE)
        if name.endswith(f".{state}_scales")
    }


class RoundedCache(transformers.DynamicCache):
    """A cache that gives back what codes of these scales stand for."""

    def __init__(self, scales: Scales) -> None:
        super().__init__()
        self.scales = scales

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *rest: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states = []
        for name, x in ((KEY, key_states), (VALUE, value_states)):
            scale = torch.from_numpy(self.scales[layer_idx, name])[:, None]
            states.append((x / scale).round().clamp(-128, 127) * scale)
        return super().update(states[0], states[1], layer_idx, *rest, **options)


class PeaksCache(transformers.DynamicCache):
    """A cache that keeps what it was given last, by layer and state."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[int, str], NDArray[np.float32]] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *rest: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for name, x in ((KEY, key_states), (VALUE, value_states)):
            self.seen[layer_idx, name] = x[0].numpy()
        return super().update(key_states, value_states, layer_idx, *rest, **options)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gemma2", "gpt_oss", "gptj", "qwen3"])
def test_logits_are_transformers_over_rounded_keys_and_values(export: Make, family: str) -> None:
    """But for what lies so near the middle of two codes that it becomes the other one."""
    folder = export(family)
    scales = scales_of(folder)
    with torch.no_grad():
        model = load_reference(checkpoint_of(folder))
        expected = model(torch.tensor([TOKENS]), cache=RoundedCache(scales)).logits[0].numpy()
        exact = model(torch.tensor([TOKENS])).logits[0].numpy()
    found = GraphRunner(folder).feed(TOKENS)
    rounding = np.abs(expected - exact).mean()
    assert rounding > 1e-4, "codes make a difference"
    assert np.abs(found - expected).mean() < 0.1 * rounding


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gptj"])
def test_scales_are_those_of_transformers_keys_and_values(
    export: Make, family: str, text: CalibrationText
) -> None:
    folder = export(family)
    plan = plan_export(checkpoint_of(folder), ExportSettings("fp32"))
    assert plan.native is not None
    model = load_reference(checkpoint_of(folder))
    tokenizer = Tokenizer.from_folder(folder.path)
    sequences = cut_sequences(text, tokenizer, context_length=plan.native.spec.max_positions)
    peaks: dict[tuple[int, str], NDArray[np.float32]] = {}
    with torch.no_grad():
        for sequence in sequences:
            cache = PeaksCache()
            model(torch.tensor(sequence[None]), cache=cache)
            for (layer, state), content in cache.seen.items():
                mixer = plan.native.spec.layers[layer].mixer
                each = peaks_of(state, content, rope=mixer.rope)
                peaks[layer, state] = np.maximum(peaks.get((layer, state), each), each)
    found = scales_of(folder)
    assert found.keys() == peaks.keys()
    for place, each in peaks.items():
        np.testing.assert_allclose(found[place], each * (MARGIN / 127), rtol=1e-3, err_msg=str(place))


@given(
    seed=st.integers(0, 1000),
    position=st.integers(0, 1 << 17),
    dim=st.sampled_from([4, 8, 16]),
    interleaved=st.booleans(),
)
def test_no_position_turns_a_key_beyond_its_peaks(
    seed: int, position: int, dim: int, *, interleaved: bool
) -> None:
    rope = RopeSpec(dim, 10000.0, interleaved=interleaved)
    keys = np.random.default_rng(seed).standard_normal((2, 3, 16)).astype(np.float32)
    first = np.arange(0, dim, 2) if interleaved else np.arange(dim // 2)
    second = first + (1 if interleaved else dim // 2)
    angles = rope.angles(position, position + 1)[0]
    turned = keys.copy()
    turned[..., first] = keys[..., first] * np.cos(angles) - keys[..., second] * np.sin(angles)
    turned[..., second] = keys[..., second] * np.cos(angles) + keys[..., first] * np.sin(angles)
    peaks = peaks_of(KEY, keys, rope=rope)
    assert (np.abs(turned) <= peaks[:, None] * (1 + 1e-5)).all()
    np.testing.assert_allclose(peaks_of(KEY, turned, rope=rope), peaks, rtol=1e-5)


@given(st.integers(0, 1000), st.sampled_from([KEY, VALUE]))
def test_what_the_text_holds_is_off_by_half_a_step_at_most(seed: int, state: str) -> None:
    content = np.random.default_rng(seed).standard_normal((2, 5, 8)).astype(np.float32)
    content[:, :, 3] = 0
    scales = scales_for(peaks_of(state, content, rope=None))[0]
    codes = np.clip(np.rint(content / scales), -128, 127)
    assert np.abs(codes).max() <= np.ceil(127 / MARGIN)
    assert (np.abs(codes * scales - content) <= scales * (0.5 + 1e-5)).all()


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {}),
        ("gemma3_text", {}),
        ("gpt_oss", {}),
        ("qwen3_next", {}),
        ("lfm2", {}),
        ("bloom", {}),
        ("mixtral", {"precision": "int8"}),
        ("llama", {"precision": "int4"}),
        ("llama", {"precision": "int4", "quantize": "gptq"}),
        ("llama", {"precision": "int4", "quantize": "awq"}),
        ("llama", {"precision": "fp16"}),
    ],
)
def test_the_cache_and_batches_change_nothing(export: Make, family: str, settings: dict[str, str]) -> None:
    """And the folder is as near to its checkpoint as its precision asks for."""
    folder = export(family, **settings)
    report = validate_folder(
        folder.path, against=checkpoint_of(folder), provider="cpu", num_threads=1, new_tokens=16
    )
    assert [check for check in report.checks if check.status == "failed"] == []


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_batch_computes_what_each_does_alone(export: Make, family: str) -> None:
    folder = export(family)
    prompts = make_prompts(VOCAB_SIZE)
    alone = [greedy_by_genai(folder.path, [prompt])[0] for prompt in prompts]
    assert greedy_by_genai(folder.path, prompts) == alone


def test_a_token_takes_a_quarter_of_the_bytes(export: Make) -> None:
    sizes = {}
    for kv_precision in ("auto", "int8"):
        with Generator(export("llama", kv_precision=kv_precision).path) as generator:
            result = generator.generate(token_ids=TOKENS[:9], max_new_tokens=3, ignore_eos=True)
            assert result.finish_reason == "length"
            sizes[kv_precision] = generator._decoder.cache.shape.bytes_per_position
    assert sizes["int8"] * 4 == sizes["auto"]


def test_it_runs_in_onnxruntime_genai(export: Make) -> None:
    folder = export("llama")
    for prompt in make_prompts(VOCAB_SIZE):
        expected = greedy_by_onnxruntime_genai(folder.path, prompt)
        assert greedy_by_genai(folder.path, [prompt]) == [expected]


def test_the_manifest_says_what_was_done(export: Make, text: CalibrationText) -> None:
    manifest = export("lfm2").manifest
    assert manifest is not None
    assert manifest.settings["kv_precision"] == "int8"
    assert manifest.settings["calibration"] == text.digest
    notes = manifest.exporter_notes["kv_cache"]
    assert (notes["margin"], notes["text_sha256"]) == (MARGIN, text.digest)
    assert notes["layers_in_floats"] == [0, 2, 3]
    assert "calibration" not in manifest.exporter_notes, "of the weights"


def test_weights_and_cache_are_calibrated_together(export: Make) -> None:
    notes = export("llama", precision="int4", quantize="gptq").manifest.exporter_notes  # type: ignore[union-attr]
    assert notes["calibration"]["method"] == "gptq"
    assert notes["kv_cache"]["num_tokens"] == notes["calibration"]["num_tokens"]


def test_a_calibration_that_was_killed_goes_on(
    export: Make, text: CalibrationText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = export("llama", precision="int4", quantize="awq")
    plan = plan_export(checkpoint_of(expected), ExportSettings("int4", quantize="awq", kv_precision="int8"))
    finished: list[int] = []

    class Killed(BaseException): ...

    def run(*arguments: Any, **options: Any) -> object:
        finished.append(arguments[2])
        if len(finished) == 2:
            raise Killed
        return run_layer_cache(*arguments, **options)

    monkeypatch.setattr(cache_module, "run_layer_cache", run)
    told: list[tuple[str, int, int]] = []
    with pytest.raises(Killed):
        export_calibrated(plan, tmp_path / "model", text=text, advance=lambda *done: told.append(done))
    weights, cache = "Calibrating by awq", "Calibrating the KV cache"
    assert told == [*((weights, done, 2) for done in (0, 1, 2)), (cache, 0, 2), (cache, 1, 2)]
    told.clear()
    folder = export_calibrated(plan, tmp_path / "model", text=text, advance=lambda *done: told.append(done))
    assert finished == [0, 1, 1], "the first layer was not run again"
    assert told == [(weights, 2, 2), (cache, 1, 2), (cache, 2, 2)]
    for name in ("model.onnx", "model.onnx.data"):
        assert (folder.path / name).read_bytes() == (expected.path / name).read_bytes()
    assert not list(tmp_path.glob(".model*")), "nothing is left"


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("deepseek_v2", "its latent attention keeps one vector for all heads"),
        ("gemma3n_text", "some of its layers read another layer's cache"),
    ],
)
def test_caches_that_cannot_hold_codes_are_refused(tmp_path: Path, family: str, reason: str) -> None:
    """Before the weights are there."""
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModelError, match=f"{reason}.*: choose kv_precision auto"):
        plan_export(checkpoint, ExportSettings(kv_precision="int8"))


def test_layers_with_more_than_one_stream_are_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma4_text", tmp_path / "checkpoint", num_kv_shared_layers=0)
    with pytest.raises(UnsupportedModelError, match=r"its layers read more than.*: choose kv_precision auto"):
        plan_export(checkpoint, ExportSettings(kv_precision="int8"))


def test_another_exporter_is_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    with pytest.raises(OptionError, match="kv_precision int8 is the native exporter's"):
        plan_export(checkpoint, ExportSettings("fp32", via="transformers", kv_precision="int8"))


def test_without_a_calibration_it_is_refused(tmp_path: Path) -> None:
    plan = plan_export(
        make_checkpoint("llama", tmp_path / "checkpoint"), ExportSettings("fp32", kv_precision="int8")
    )
    with pytest.raises(OptionError, match="kv_precision int8 needs a calibration"):
        carry_out(plan, tmp_path / "model")
