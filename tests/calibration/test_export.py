"""Exports with calibration: the function stays, what was done is kept, and nothing is worse than rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from genai.calibration import CalibrationText, export_calibrated
from genai.calibration import calibrate as calibrate_module
from genai.calibration.layer import quantize_layer
from genai.calibration.layer_run import embed_tokens, run_layer
from genai.calibration.parameters import restore
from genai.config import ExportSettings
from genai.errors import OptionError, UnsupportedModelError
from genai.export import BlockScheme, Calibrated, carry_out, export_model, open_weights, plan_export
from genai.folder import ModelFolder
from tests.calibration.test_layer_run import SEQUENCES
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner

Make = Callable[..., ModelFolder]

TOKENS = np.random.default_rng(7).integers(3, VOCAB_SIZE, 60).tolist()


def logits_of(folder: ModelFolder | Path) -> NDArray[np.float32]:
    return GraphRunner(folder).feed(TOKENS)


def plant_outliers(path: Path) -> Path:
    """Save a copy of a random llama in which norms make a few channels 30 times as large, and their readers' columns smaller."""
    checkpoint = make_checkpoint("llama", path / "plain", hidden_size=64, num_hidden_layers=4)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    factors = torch.ones(64)
    factors[[3, 17, 40]] = 30.0
    with torch.no_grad():
        for layer in model.model.layers:
            for norm, readers in (
                (layer.input_layernorm, [getattr(layer.self_attn, f"{name}_proj") for name in "qkv"]),
                (layer.post_attention_layernorm, [layer.mlp.gate_proj, layer.mlp.up_proj]),
            ):
                norm.weight.mul_(factors)
                for reader in readers:
                    reader.weight.div_(factors)
    model.save_pretrained(path / "planted")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (path / "planted" / name).write_bytes((checkpoint / name).read_bytes())
    return path / "planted"


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
def test_smoothing_leaves_the_function_as_it_is(family: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    plan = plan_export(checkpoint, ExportSettings("fp32"))
    assert plan.native is not None
    spec = plan.native.spec.limited_to(len(SEQUENCES[0]))
    parameters = dict(open_weights(plan, plan.native))
    smoothed, hidden = dict(parameters), embed_tokens(parameters, spec, SEQUENCES, beside=tmp_path)
    for index in range(len(spec.layers)):
        run = run_layer(parameters, spec, index, hidden, beside=tmp_path)
        hidden = run.outputs
        arrays = quantize_layer(run.inputs, parameters, lambda path: BlockScheme(4, 16), method="awq")
        smoothed |= restore(arrays, parameters, lambda path: None)
    assert any(smoothed[name] is not parameters[name] for name in parameters), "something was smoothed"
    before, after = (
        logits_of(carry_out(plan, tmp_path / name, calibrated=Calibrated(plan.precision, weights, {})))
        for name, weights in (("before", parameters), ("after", smoothed))
    )
    np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())


def test_every_method_is_better_than_rounding_channels_as_they_are(calibrated: Make, tmp_path: Path) -> None:
    """On channels of very different sizes, as trained models have them; the default rescales them without data."""
    checkpoint = plant_outliers(tmp_path)
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor([TOKENS])).logits[0].numpy()

    def error(folder: ModelFolder) -> float:
        return float(np.linalg.norm(logits_of(folder) - expected))

    plan = plan_export(checkpoint, ExportSettings("int4", block_size=32))
    assert plan.native is not None
    as_they_are = Calibrated(plan.precision, open_weights(plan, plan.native), {})
    rounded = error(carry_out(plan, tmp_path / "as they are", calibrated=as_they_are))
    assert error(export_model(checkpoint, tmp_path / "rtn", block_size=32)) < rounded
    assert error(calibrated(checkpoint, tmp_path / "awq", method="awq")) < rounded
    assert error(calibrated(checkpoint, tmp_path / "gptq", method="gptq")) < rounded


def test_the_manifest_says_what_was_done(calibrated: Make, llama: Path, tmp_path: Path) -> None:
    manifest = calibrated(llama, tmp_path / "model").manifest
    assert manifest is not None
    assert manifest.settings["quantize"] == "gptq"
    assert len(manifest.settings["calibration"]) == 16
    assert manifest.quantization["modules"]["layers.*.attention.output"]["method"] == "gptq"
    assert manifest.quantization["method"] == "rtn", "of all others"
    notes = manifest.exporter_notes["calibration"]
    assert notes["text_sha256"] == manifest.settings["calibration"]
    assert notes["sequence_length"] == 256
    assert notes["rounded_to_nearest"] == []
    assert not list(tmp_path.glob(".model*")), "nothing is left"


def test_a_calibration_that_was_killed_goes_on(
    calibrated: Make, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = calibrated(llama, tmp_path / "expected")
    finished: list[int] = []

    class Killed(BaseException): ...

    def run(*arguments: object, **options: object) -> object:
        finished.append(arguments[2])  # type: ignore[arg-type]
        if len(finished) == 2:
            raise Killed
        return run_layer(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(calibrate_module, "run_layer", run)
    with pytest.raises(Killed):
        calibrated(llama, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    told: list[tuple[str, int, int]] = []
    folder = calibrated(llama, tmp_path / "model", advance=lambda *done: told.append(done))
    assert finished == [0, 1, 1], "the first layer was not run again"
    assert told == [("Calibrating by gptq", 1, 2), ("Calibrating by gptq", 2, 2)]
    for name in ("model.onnx", "model.onnx.data"):
        assert (folder.path / name).read_bytes() == (expected.path / name).read_bytes()
    assert not list(tmp_path.glob(".model*")), "nothing is left"


def test_other_settings_begin_anew(
    calibrated: Make, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is left of a calibration that is never finished goes with the next of the same folder."""
    with monkeypatch.context() as patch:
        patch.setattr(calibrate_module.Calibration, "outcome", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            calibrated(llama, tmp_path / "model")
    assert len(list(tmp_path.glob(".model.calibration-*"))) == 1
    told: list[tuple[str, int, int]] = []
    calibrated(llama, tmp_path / "model", method="awq", advance=lambda *done: told.append(done))
    assert told[0] == ("Calibrating by awq", 0, 2)
    assert not list(tmp_path.glob(".model*"))


def test_experts_are_rounded_to_nearest(calibrated: Make, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("mixtral", tmp_path / "checkpoint")
    lines: list[str] = []
    manifest = calibrated(checkpoint, tmp_path / "model", note=lines.append).manifest
    assert manifest is not None
    notes = manifest.exporter_notes["calibration"]
    assert notes["rounded_to_nearest"] == [f"layers.*.mlp.experts.{name}" for name in ("down", "gate", "up")]
    assert "layers.*.mlp.experts.down" in lines[0]
    assert "layers.*.attention.output" in manifest.quantization["modules"]


def test_layers_that_cannot_be_run_alone(calibrated: Make, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma3n_text", tmp_path / "checkpoint")
    with pytest.raises(
        UnsupportedModelError, match=r"cannot be calibrated layer by layer.*choose quantize rtn"
    ):
        calibrated(checkpoint, tmp_path / "model")


def test_a_text_that_is_too_short(llama: Path, tmp_path: Path) -> None:
    plan = plan_export(llama, ExportSettings(quantize="gptq"))
    with pytest.raises(OptionError, match=r'text "note" has \d+ tokens, and at least 2048 are needed'):
        export_calibrated(plan, tmp_path / "model", text=CalibrationText("note", "A few words."))
    assert not list(tmp_path.iterdir())


def test_settings_that_need_no_text_are_refused(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"these settings need no text.*carry_out"):
        export_calibrated(plan_export(llama, ExportSettings(quantize="hqq")), tmp_path / "model")


def test_without_a_calibration_it_is_refused(llama: Path, tmp_path: Path) -> None:
    plan = plan_export(llama, ExportSettings(quantize="gptq"))
    with pytest.raises(OptionError, match="genai quantize"):
        carry_out(plan, tmp_path / "model")
