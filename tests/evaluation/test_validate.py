"""The full validation: ways of running against each other, and parity with transformers."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genai.errors import GenaiError, ModelFolderError, OptionError
from genai.evaluation import Report, record_report, validate_folder
from genai.evaluation.continuation import Continuation
from genai.evaluation.parity import measure_difference
from genai.evaluation.prompts import TEXTS, make_prompts
from genai.evaluation.tolerance import TOLERANCES, tolerance_for
from genai.export import export_model
from genai.folder import MANIFEST_FILE, ModelFolder
from genai.runtime import Decoder
from genai.text import Tokenizer
from tests.checkpoints import load_reference, make_checkpoint
from tests.evaluation.folders import edit_json, fill_with_nan
from tests.evaluation.test_structure import CHECKS, outcome

Folders = Callable[..., tuple[Path, Path]]


def validate(folder: Path, **options: Any) -> Report:
    return validate_folder(folder, **{"provider": "cpu", "num_threads": 1, "new_tokens": 16, **options})


def figures(report: Report, name: str) -> Any:
    return next(check.figures for check in report.checks if check.name == name)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gpt2"])
def test_an_fp32_folder_computes_what_its_checkpoint_does(model_folder: Folders, family: str) -> None:
    checkpoint, folder = model_folder(family)
    report = validate(folder, against=checkpoint, new_tokens=64)
    assert outcome(report) == (set(), set())
    assert [c.name for c in report.checks] == [
        *CHECKS,
        "cached",
        "batched",
        "same_tokens",
        "logits",
        "greedy",
    ]
    assert figures(report, "logits")["max_error"] < 5e-5
    assert figures(report, "greedy") == {"agreements": [64] * 4, "num_generated": [64] * 4}
    assert report.against == {"source": str(checkpoint.resolve()), "revision": None}
    assert report.versions.keys() == {"genai", "onnxruntime", "torch", "transformers"}


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_other_precisions_are_judged_by_their_distributions(model_folder: Folders, precision: str) -> None:
    checkpoint, folder = model_folder("llama", precision=precision)
    report = validate(folder, against=checkpoint)
    assert outcome(report) == (set(), set())
    assert [c.name for c in report.checks][-3:] == ["same_tokens", "divergence", "top1"]
    assert 0 < figures(report, "divergence")["mean_kl"] <= figures(report, "divergence")["max_kl"]
    limit = figures(report, "divergence")["mean_kl"] / 2
    assert outcome(validate(folder, against=checkpoint, max_kl=limit))[0] == {"divergence"}


def test_limits_of_the_callers_own(model_folder: Folders) -> None:
    checkpoint, folder = model_folder("llama")
    assert outcome(validate(folder, against=checkpoint, max_error=1e-9))[0] >= {"logits"}
    report = validate(folder, against=checkpoint, max_kl=1e-6, min_top1=1)
    assert outcome(report)[0] == set()
    assert [c.name for c in report.checks][-4:] == ["logits", "greedy", "divergence", "top1"]
    int4 = model_folder("llama", precision="int4")[1]
    assert outcome(validate(int4, against=checkpoint, min_top1=0.999, max_error=1e-4))[0] == {
        "logits",
        "greedy",
        "top1",
    }


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", {"logits", "greedy"}), ("int4", {"divergence", "top1"})]
)
def test_another_checkpoint(
    model_folder: Folders, tmp_path: Path, precision: str, expected: set[str]
) -> None:
    other = make_checkpoint("llama", tmp_path / "other", seed=1)
    report = validate(model_folder("llama", precision=precision)[1], against=other)
    assert outcome(report) == (expected, set())


@pytest.mark.parametrize(("vocab_size", "reason"), [(340, "340 logits"), (40, "cannot run the checkpoint")])
def test_a_checkpoint_of_another_shape(folder: Path, tmp_path: Path, vocab_size: int, reason: str) -> None:
    other = make_checkpoint("llama", tmp_path / "other", vocab_size=vocab_size)
    report = validate(folder, against=other)
    assert outcome(report)[0] == {"parity"}
    assert reason in report.summary()


def test_a_checkpoint_that_transformers_cannot_load(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(checkpoint, tmp_path / "broken"))
    edit_json(broken / "config.json", lambda values: values.update(model_type="nonesuch"))
    assert outcome(validate(folder, against=broken))[0] == {"parity"}


def test_another_tokenizer(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    edit_json(other / "tokenizer.json", lambda values: values["model"]["merges"].clear())
    assert outcome(validate(folder, against=other))[0] == {"same_tokens"}


def test_a_comparison_that_was_asked_for_and_cannot_be_made_fails(
    model_folder: Folders, folder: Path, checkpoint: Path
) -> None:
    bf16 = model_folder("llama", precision="bf16")[1]
    assert outcome(validate(bf16)) == (set(), {"load", "run", "cached", "batched"})
    assert outcome(validate(bf16, against=checkpoint))[0] == {"parity"}
    fill_with_nan(folder)
    assert outcome(validate(folder, against=checkpoint)) == ({"run", "parity"}, {"cached", "batched"})


def test_without_a_tokenizer(folder: Path, checkpoint: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()
    (folder / MANIFEST_FILE).unlink()
    report = validate(folder, against=checkpoint)
    assert outcome(report) == (set(), {"checksums", "tokenizer", "same_tokens"})


@pytest.mark.parametrize(("num_rows", "expected"), [(1, {"cached", "batched"}), (2, {"batched"})])
def test_a_decoding_step_that_differs_from_the_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, num_rows: int, expected: set[str]
) -> None:
    run = Decoder.run

    def disturbed(self: Decoder, batch: Any) -> Any:
        output = run(self, batch)
        if sum(span.is_step for span in batch) >= num_rows:
            output.logits[output.starts[-1], ::2] += 0.01
        return output

    monkeypatch.setattr(Decoder, "run", disturbed)
    assert outcome(validate(folder))[0] == expected


@pytest.mark.parametrize("max_context", [1, 2, 9])
def test_a_short_context(tmp_path: Path, checkpoint: Path, max_context: int) -> None:
    from genai.export import export_model

    export_model(checkpoint, tmp_path / "short", precision="fp32", max_context=max_context)
    report = validate(tmp_path / "short", against=checkpoint)
    assert outcome(report) == (({"parity"}, {"cached", "batched"}) if max_context == 1 else (set(), set()))
    if max_context > 1:
        detail = next(check.detail for check in report.checks if check.name == "greedy")
        assert "no room for the 16 that were wanted" in detail


def test_impossible_options(folder: Path) -> None:
    for options in ({"max_kl": -1}, {"min_top1": 1.5}, {"max_error": float("nan")}, {"new_tokens": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            validate(folder, **options)


def test_torch_is_missing(folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "genai.evaluation.reference", raising=False)
    monkeypatch.delattr(sys.modules["genai.evaluation"], "reference", raising=False)
    with pytest.raises(GenaiError, match="pip install torch transformers"):
        validate(folder, against=checkpoint)
    assert validate(folder).is_ok


def test_prompts() -> None:
    fixed = make_prompts(None, vocab_size=331, max_tokens=30)
    assert fixed == make_prompts(None, vocab_size=331, max_tokens=30)
    assert len(fixed) == len(TEXTS)
    assert len({len(prompt) for prompt in fixed}) > 2
    assert all(0 < len(prompt) <= 30 and 0 <= min(prompt) <= max(prompt) < 331 for prompt in fixed)


def test_prompts_that_are_too_long_are_cut_to_several_lengths(checkpoint: Path) -> None:
    prompts = make_prompts(Tokenizer.from_folder(checkpoint), vocab_size=331, max_tokens=8)
    assert [len(prompt) for prompt in prompts] == [8, 3, 1, 1]


def test_the_difference_is_what_torch_computes() -> None:
    random = np.random.default_rng(0)
    ours, theirs = (random.normal(0, 2, (9, 50)).astype(np.float32) for _ in range(2))
    tokens = [3, 4, int(theirs[6].argmax()), int(theirs[7].argmax()), 5]

    class Result:
        token_ids = tokens

    prompt = [1, 2, 3, 4, 5]
    theirs[4, 3] = theirs[4].max() + 1
    theirs[5, 4] = theirs[5].max() - 0.0001  # as good as the best
    theirs[8, 5] = theirs[8].min() - 1
    each = Continuation(prompt, Result(), ours)  # type: ignore[arg-type]
    seen: list[Any] = []
    difference = measure_difference(
        [each], lambda ids: seen.append(ids) or theirs, num_requested=5, tie_margin=2e-4
    )
    assert seen == [[*prompt, *tokens[:-1]]]
    kl = torch.nn.functional.kl_div(
        torch.tensor(ours[:5]).log_softmax(-1),
        torch.tensor(theirs[:5]).log_softmax(-1),
        log_target=True,
        reduction="none",
    ).sum(-1)
    np.testing.assert_allclose([difference.mean_kl, difference.max_kl], [kl.mean(), kl.max()], rtol=1e-5)
    assert difference.max_error == np.abs(ours - theirs).max()
    assert difference.top1 == (ours[:5].argmax(-1) == theirs[:5].argmax(-1)).mean()
    assert (difference.agreements, difference.num_generated) == ((4,), (5,))
    assert difference.agreement == "the first 4 of 5 greedy tokens agree"
    strict = measure_difference([each], lambda ids: theirs, num_requested=8, tie_margin=0)
    assert strict.agreements == (1,)
    assert strict.agreement == (
        "the first 1 of 5 greedy tokens agree (the context has no room for the 8 that were wanted)"
    )


def test_the_greedy_tokens_that_agree_are_those_that_transformers_generates(
    model_folder: Folders,
) -> None:
    """One pass over our continuation finds the place where generating with transformers would part."""
    from genai import Generator

    checkpoint, folder = model_folder("llama", precision="int4")
    report = validate(folder, against=checkpoint, new_tokens=12)
    reference = load_reference(checkpoint)
    counts = []
    with Generator(folder, provider="cpu", num_threads=1) as generator:
        for prompt in make_prompts(generator.tokenizer, vocab_size=331, max_tokens=64):
            ours = generator.generate(
                token_ids=prompt, max_new_tokens=12, ignore_eos=True, do_sample=False
            ).token_ids
            with torch.no_grad():
                theirs = reference.generate(
                    torch.tensor([prompt]),
                    max_new_tokens=12,
                    do_sample=False,
                    eos_token_id=None,
                    pad_token_id=0,
                )[0, len(prompt) :].tolist()
            counts.append(next((i for i in range(12) if ours[i] != theirs[i]), 12))
    assert figures(report, "top1")["agreements"] == counts


def test_every_precision_has_limits() -> None:
    for precision, tolerance in TOLERANCES.items():
        assert (tolerance.max_error is None) == (precision != "fp32")
    assert tolerance_for("int8", min_top1=0).min_top1 == 0


def test_the_report_is_kept_in_the_manifest(folder: Path, checkpoint: Path) -> None:
    before = json.loads((folder / MANIFEST_FILE).read_text())
    edit_json(folder / MANIFEST_FILE, lambda values: values.update(later="unknown to this release"))
    report = validate(folder, against=checkpoint)
    assert record_report(report)
    values = json.loads((folder / MANIFEST_FILE).read_text())
    assert values == {**before, "later": "unknown to this release", "validation": report.to_json()}
    assert values["validation"]["passed"]
    manifest = ModelFolder.load(folder).manifest
    assert manifest is not None
    assert manifest.validation["against"]["source"] == str(checkpoint.resolve())
    assert validate(folder).is_ok  # the manifest itself is no file of the export


def test_a_number_that_json_does_not_know(folder: Path) -> None:
    fill_with_nan(folder)
    report = validate(folder)
    record_report(report)
    text = (folder / MANIFEST_FILE).read_text()
    assert not json.loads(text, parse_constant=pytest.fail)["validation"]["passed"]


def test_another_tools_folder_is_not_written_to(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()
    names = sorted(folder.iterdir())
    assert not record_report(validate(folder))
    assert sorted(folder.iterdir()) == names


def test_a_killed_write_leaves_the_old_manifest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, before = validate(folder), (folder / MANIFEST_FILE).read_bytes()

    def refuse(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(ModelFolderError, match="No space left"):
        record_report(report)
    assert (folder / MANIFEST_FILE).read_bytes() == before
    assert not list(folder.glob(".*"))


def test_transformers_js_layout(folder: Path, checkpoint: Path) -> None:
    """config.json in the root, the graph below it, no manifest."""
    (folder / "onnx").mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        (folder / name).rename(folder / "onnx" / name)
    for name in ("genai_config.json", MANIFEST_FILE):
        (folder / name).unlink()
    shutil.copy(checkpoint / "config.json", folder)
    assert outcome(validate(folder, against=checkpoint)) == (set(), {"checksums"})


@pytest.mark.parametrize("precision", ["int4", "bf16"])
def test_what_the_cpu_has_no_kernels_for_is_not_judged_there(
    checkpoint: Path, tmp_path: Path, precision: str
) -> None:
    activations = "bf16" if precision == "int4" else None
    export_model(
        checkpoint, tmp_path / "model", precision=precision, provider="cuda", activations=activations
    )
    failed, skipped = outcome(validate_folder(tmp_path / "model"))
    assert not failed
    assert "load" in skipped
