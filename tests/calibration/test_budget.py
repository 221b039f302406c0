"""Bits where they are worth most: the choice under a budget, what it is made by, and the folder that comes of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import genai.calibration.calibrate as calibrate_module
from genai import Generator
from genai.calibration import CalibrationText, export_calibrated
from genai.calibration.budget import Choices, choose_schemes, matrix_bits
from genai.calibration.sensitivity import Sensitivity
from genai.config import ExportSettings
from genai.errors import OptionError, UnsupportedModelError
from genai.export import ExportPlan, carry_out, open_weights, plan_export
from genai.export.exporter import Calibrated
from genai.folder import ModelFolder
from genai.quantize import BlockScheme
from genai.quantize.rtn import round_to_nearest
from tests.checkpoints import VOCAB_SIZE, make_checkpoint

NARROW = BlockScheme(4, 32, is_symmetric=False, scale_type="float16")
COARSE = BlockScheme(4, 64, is_symmetric=False, scale_type="float16")
TINY = BlockScheme(2, 32, is_symmetric=False, scale_type="float16")
WIDE = BlockScheme(8, 64, scale_type="float16")
SCHEMES = [NARROW, COARSE, TINY, WIDE]

SEQUENCES = [np.random.default_rng(seed).integers(3, VOCAB_SIZE, 40) for seed in range(3)]


def test_bits_of_a_matrix() -> None:
    assert matrix_bits((3, 64), NARROW) == 3 * 64 * 4 + 3 * 2 * 16 + 3 * 8
    assert matrix_bits((3, 64), WIDE) == 3 * 64 * 8 + 3 * 16
    assert matrix_bits((1, 65), BlockScheme(8, 64)) == 2 * (64 * 8 + 32)


losses = st.fixed_dictionaries({scheme: st.floats(0, 1) for scheme in SCHEMES})
groups = st.lists(losses, min_size=1, max_size=4)


def groups_of(found: list[dict[BlockScheme, float]]) -> list[Choices]:
    return [Choices((f"module.{index}",), ((64, 128),), each) for index, each in enumerate(found)]


@given(groups, st.floats(2.7, 9))
def test_a_choice_stays_within_the_budget_and_is_close_to_the_best(
    found: list[dict[BlockScheme, float]], budget: float
) -> None:
    """The greedy choice on convex hulls is off the best by less than one step that no longer fits."""
    choices = groups_of(found)
    limit = budget * sum(group.num_weights for group in choices)
    chosen = choose_schemes(choices, budget)
    taken = [chosen[group.modules[0]] for group in choices]
    assert sum(group.bits(scheme) for group, scheme in zip(choices, taken, strict=True)) <= limit
    loss = sum(group.losses[scheme] for group, scheme in zip(choices, taken, strict=True))
    best = min(
        sum(group.losses[scheme] for group, scheme in zip(choices, schemes, strict=True))
        for schemes in itertools.product(SCHEMES, repeat=len(choices))
        if sum(group.bits(scheme) for group, scheme in zip(choices, schemes, strict=True)) <= limit
    )
    largest_step = max(max(each.values()) - min(each.values()) for each in found)
    assert best <= loss + 1e-9
    assert loss <= best + largest_step + 1e-9


def test_what_costs_most_gets_the_bits() -> None:
    hard = {TINY: 3.0, COARSE: 1.0, NARROW: 0.9, WIDE: 0.0}
    easy = {TINY: 0.3, COARSE: 0.1, NARROW: 0.09, WIDE: 0.0}
    chosen = choose_schemes(groups_of([easy, hard, easy]), 5.7)
    assert list(chosen.values()) == [COARSE, WIDE, COARSE]


def test_a_budget_below_all_schemes_is_refused() -> None:
    with pytest.raises(OptionError, match=r"bits_budget 2 is less .* 2\.57 bits per weight"):
        choose_schemes(groups_of([dict.fromkeys(SCHEMES, 1.0)]), 2)


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_a_loss_is_the_divergence_of_the_decoder_with_that_group_rounded(family: str, tmp_path: Path) -> None:
    """The slow twin exports a folder per group and compares its logits with the exact one's."""
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings("fp32"))
    assert plan.native is not None
    parameters = dict(open_weights(plan, plan.native))
    precision = plan_export(checkpoint, ExportSettings("int4")).precision
    sensitivity = Sensitivity(plan.native.spec, parameters, precision, [TINY, WIDE], [NARROW], tmp_path)
    measured = sensitivity.measure(SEQUENCES, lambda done: None)
    exact = log_probabilities(carry_out(plan, tmp_path / "exact"))
    assert {"embedding", "layers.0.mlp.down"} <= {module for group in measured for module in group.modules}
    for group in measured[:: max(len(measured) // 6, 1)]:
        scheme = next(iter(group.losses))
        rounded = {
            name: round_to_nearest(np.asarray(parameters[name][:], np.float32), scheme)
            for module in group.modules
            if (name := f"{module}.weight") in parameters
        }
        calibrated = Calibrated(plan.precision, {**parameters, **rounded}, {})
        folder = carry_out(plan, tmp_path / "rounded", calibrated=calibrated, overwrite=True)
        expected = float((np.exp(exact) * (exact - log_probabilities(folder))).sum(axis=-1).mean())
        assert group.losses[scheme] == pytest.approx(expected, rel=0.02, abs=1e-7), group.modules


def log_probabilities(folder: ModelFolder) -> np.ndarray:
    with Generator(folder) as generator:
        logits = np.stack([generator.logits(token_ids=ids.tolist()) for ids in SEQUENCES]).astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def planned(checkpoint: Path, budget: float, *, method: str = "rtn") -> ExportPlan:
    return plan_export(checkpoint, ExportSettings(quantize=method, bits_budget=budget))


@pytest.mark.parametrize("method", ["rtn", "hqq", "gptq"])
def test_a_folder_within_a_budget(method: str, llama: Path, text: CalibrationText, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    folder = export_calibrated(
        planned(llama, 5.5, method=method),
        tmp_path / "model",
        text=text,
        advance=lambda *step: told.append(step),
    )
    assert folder.manifest is not None
    assert folder.manifest.exporter_notes["bits_budget"]["bits_per_weight"] == 5.5
    bits = {scheme["bits"] for scheme in folder.manifest.quantization["modules"].values()}
    assert len(bits) > 1, "a mixture"
    methods = {
        scheme["method"]
        for module, scheme in folder.manifest.quantization["modules"].items()
        if module.startswith("layers") and scheme["bits"] < 8
    }
    assert methods == {method}
    assert told[:2] == [("Measuring sensitivity", 1, 2), ("Measuring sensitivity", 2, 2)]
    with Generator(folder) as generator:
        assert generator.generate(token_ids=[3, 4, 5], max_new_tokens=4).token_ids
    assert not list(tmp_path.glob(".model*")), "nothing is left"


def test_more_bits_lose_less(llama: Path, text: CalibrationText, tmp_path: Path) -> None:
    exact = log_probabilities(export_calibrated_float(llama, tmp_path / "exact"))
    found = []
    for budget in (5.0, 6.5, 8.0):
        folder = export_calibrated(planned(llama, budget), tmp_path / f"{budget}", text=text)
        found.append(float((np.exp(exact) * (exact - log_probabilities(folder))).sum(axis=-1).mean()))
    assert found == sorted(found, reverse=True)


def export_calibrated_float(checkpoint: Path, output: Path) -> ModelFolder:
    return carry_out(plan_export(checkpoint, ExportSettings("fp32")), output)


def test_losses_are_measured_once(
    llama: Path, text: CalibrationText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops the export behind the measurement, and whatever budget the next one has."""
    expected = export_calibrated(planned(llama, 5), tmp_path / "expected", text=text).manifest
    with monkeypatch.context() as patch:
        patch.setattr(calibrate_module.Calibration, "uncalibrated", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export_calibrated(planned(llama, 6), tmp_path / "model", text=text)
    monkeypatch.setattr(Sensitivity, "measure", lambda *_: 1 / 0)
    found = export_calibrated(planned(llama, 5), tmp_path / "model", text=text).manifest
    assert expected is not None
    assert found is not None
    assert found.files == expected.files


@given(groups)
def test_losses_are_read_as_they_were_kept(found: list[dict[BlockScheme, float]]) -> None:
    for each in groups_of(found):
        assert Choices.from_json(json.loads(json.dumps(each.to_json(SCHEMES))), SCHEMES) == each


def test_a_budget_that_is_too_small_is_refused_before_anything_is_measured(
    llama: Path, text: CalibrationText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sensitivity, "measure", lambda *_: 1 / 0)
    with pytest.raises(
        OptionError, match=r"bits_budget 1 is less than the smallest schemes take, which is \d\.\d\d"
    ):
        export_calibrated(planned(llama, 1), tmp_path / "model", text=text)
    assert not any(tmp_path.iterdir())


def test_what_a_killed_measurement_has_left_is_swept(
    llama: Path, text: CalibrationText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Sensitivity, "measure", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export_calibrated(planned(llama, 6), tmp_path / "model", text=text)
    (work,) = tmp_path.glob(".model.calibration-*")
    (work / "tmpkilled").mkdir()
    (work / "tmpkilled" / "model.onnx.data").write_bytes(b"x")
    monkeypatch.setattr(Sensitivity, "measure", lambda *_: [] if (work / "tmpkilled").exists() else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_calibrated(planned(llama, 6), tmp_path / "model", text=text)


def test_experts_have_no_budget(text: CalibrationText, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("mixtral", tmp_path / "checkpoint")
    with pytest.raises(UnsupportedModelError, match=r"mlp\.experts\.down.*leave bits_budget out"):
        export_calibrated(planned(checkpoint, 5), tmp_path / "model", text=text)


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), True, "4.5"])
def test_impossible_budgets(budget: object) -> None:
    with pytest.raises(OptionError, match="bits_budget must be a number of bits > 0"):
        ExportSettings(bits_budget=budget)  # type: ignore[arg-type]


def test_what_cannot_spend_a_budget_says_so_before_the_weights_are_there(llama: Path, tmp_path: Path) -> None:
    settings = ExportSettings(bits_budget=5, via="transformers")
    with pytest.raises(OptionError, match=r"bits_budget 5 is the native exporter's.*: leave bits_budget out"):
        plan_export(llama, settings)
    with pytest.raises(
        UnsupportedModelError, match=r"layer by layer, because its layers.*: leave bits_budget"
    ):
        planned(make_checkpoint("gemma3n_text", tmp_path / "checkpoint"), 5)
    with pytest.raises(OptionError, match="bits_budget 5 needs a calibration"):
        carry_out(planned(llama, 5), tmp_path / "model")


def test_a_budget_is_one_of_int4() -> None:
    with pytest.raises(OptionError, match="the precision is int8: choose int4, or leave bits_budget out"):
        ExportSettings("int8", bits_budget=5)
    assert ExportSettings(bits_budget=4.5).name == "int4-bits_budget=4.5"
    assert ExportSettings(bits_budget=4.5).needs_text
