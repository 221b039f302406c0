"""Divergence from a reference: none from itself, some from other weights, as a slow twin has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genai.errors import OptionError
from genai.evaluation.quality import Text, evaluate_quality, packaged_texts, prepare_reference
from genai.evaluation.quality.passages import Windows, cut_passages
from genai.generator import Generator
from genai.text import prefix_of
from tests.evaluation.quality.conftest import slow_log_probabilities

TEXT = Text("prose", packaged_texts()[0].content[:900])


@pytest.mark.parametrize("name", ["demo", "tiny"])
def test_a_model_is_itself(name: str, request: pytest.FixtureRequest) -> None:
    generator: Generator = request.getfixturevalue(name)
    report = evaluate_quality(generator, against=generator, texts=[TEXT])
    found = report.overall.comparison
    assert found is not None
    assert found.perplexity_ratio == pytest.approx(1, abs=1e-5)
    assert found.reference_perplexity == pytest.approx(report.overall.perplexity)
    assert max(found.mean_kl, found.median_kl, found.p99_kl) < 1e-9
    assert found.top1 == 1


def test_rounding_costs_something_as_a_slow_twin_has_it(tiny: Generator, tiny_int4: Generator) -> None:
    report = evaluate_quality(tiny_int4, against=tiny, texts=[TEXT, TEXT], window=100)
    found = report.overall.comparison
    assert found is not None
    assert report.reference == tiny.folder.path
    token_ids = tiny.tokenizer.encode(TEXT.content, add_special_tokens=False)
    passages = cut_passages(token_ids, prefix_of(tiny.tokenizer), Windows(100, 50))
    ours, theirs = (
        np.concatenate([slow_log_probabilities(model, each) for each in passages])
        for model in (tiny_int4, tiny)
    )
    kl = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    assert found.mean_kl == pytest.approx(kl.mean(), rel=1e-3)
    assert found.median_kl == pytest.approx(np.median(kl), rel=1e-3)
    assert found.p99_kl == pytest.approx(np.percentile(np.tile(kl, 2), 99), rel=1e-3)
    assert found.top1 == pytest.approx((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean(), abs=0.01)
    assert found.perplexity_ratio == pytest.approx(report.overall.perplexity / found.reference_perplexity)
    assert found.mean_kl > 0
    assert found.top1 < 1


def test_another_vocabulary(tiny: Generator, demo: Generator) -> None:
    with pytest.raises(OptionError, match="have different vocabularies, of 331 and 1536 tokens"):
        evaluate_quality(tiny, against=demo, texts=[TEXT])


def test_another_tokenizer(tiny: Generator, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny.folder.path, tmp_path / "other")
    path = folder / "tokenizer.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"add_prefix_space":false', '"add_prefix_space":true')
    )
    path.write_text(
        path.read_text(encoding="utf-8").replace('"add_prefix_space": false', '"add_prefix_space": true')
    )
    with (
        Generator(folder, provider="cpu", num_threads=1) as other,
        pytest.raises(OptionError, match="different vocabularies: 1 of 1 texts become other tokens"),
    ):
        evaluate_quality(tiny, against=other, texts=[TEXT])


def test_a_checkpoint_as_reference_is_exported_at_fp32(
    model_folder: Callable[..., tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENAI_HOME", str(tmp_path))
    checkpoint, folder = model_folder("llama")
    prepared = prepare_reference(checkpoint)
    assert prepared.manifest is not None
    assert prepared.manifest.precision == "fp32"
    assert prepared.path.is_relative_to(tmp_path)
    assert prepare_reference(folder).path == folder
