"""Perplexity over the cache, chunk by chunk, is that of whole passages at once."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import genai.evaluation.quality.perplexity as perplexity
from genai import scoring
from genai.errors import GenerationError, OptionError
from genai.evaluation.quality import Text, evaluate_quality, packaged_texts
from genai.evaluation.quality.passages import Passage, Windows, cut_passages
from genai.evaluation.quality.perplexity import Scorer, perplexity_of, row_blocks, score_tokens, token_nlls
from genai.generator import Generator
from genai.text import prefix_of
from tests.evaluation.quality.conftest import slow_nlls

SHORT = Text("short", packaged_texts()[0].content[:600])
LONG = Text("long", packaged_texts()[1].content[:900])


@pytest.mark.parametrize("name", ["demo", "tiny"])
def test_perplexity_equals_a_slow_twin(name: str, request: pytest.FixtureRequest) -> None:
    generator: Generator = request.getfixturevalue(name)
    report = evaluate_quality(generator, texts=[SHORT, LONG], window=100)
    prefix = prefix_of(generator.tokenizer)
    nlls = []
    for text, found in zip([SHORT, LONG], report.texts, strict=True):
        token_ids = generator.tokenizer.encode(text.content, add_special_tokens=False)
        passages = cut_passages(token_ids, prefix, Windows(100, 50))
        assert len(passages) > 2
        nlls.append(np.concatenate([slow_nlls(generator, each) for each in passages]))
        assert found.name == text.name
        assert found.num_tokens == len(token_ids) - (not prefix)
        assert found.nll == pytest.approx(nlls[-1].mean(), rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(nlls[-1].mean()), rel=1e-4)
    everything = np.concatenate(nlls)
    assert report.overall.num_tokens == everything.size
    assert report.overall.nll == pytest.approx(everything.mean(), rel=1e-5)
    assert report.tokens_per_second > 0


def test_chunks_and_blocks_change_nothing(tiny: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    passages = [Passage(range(3, 120), 100)]
    whole = score_tokens(Scorer(tiny), passages, advance=lambda count: None)
    monkeypatch.setattr(scoring, "CHUNK", 7)
    monkeypatch.setattr(perplexity, "BLOCK_ELEMENTS", 2 * tiny.vocab_size)
    counts: list[int] = []
    parts = score_tokens(Scorer(tiny), passages, advance=counts.append)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert counts == [7] * 14 + [2]
    assert [(each.start, each.stop) for each in row_blocks(5, tiny.vocab_size)] == [(0, 2), (2, 4), (4, 5)]
    assert list(row_blocks(1, 1 << 30)) == [slice(0, 1)]


def test_logits_that_are_no_numbers() -> None:
    with pytest.raises(GenerationError, match="not finite"):
        token_nlls(np.full((1, 2), np.nan), [1])
    assert perplexity_of(1e6) == math.inf


def test_progress_counts_every_token(tiny: Generator) -> None:
    calls: list[tuple[str, int, int]] = []
    report = evaluate_quality(
        tiny, texts=[SHORT], name="mine", progress=lambda *arguments: calls.append(arguments)
    )
    assert {call[0] for call in calls} == {"Evaluating mine"}
    assert {call[2] for call in calls} == {report.overall.num_tokens}
    assert [call[1] for call in calls] == sorted({call[1] for call in calls})
    assert calls[-1][1] == report.overall.num_tokens


def test_the_report_as_json(tiny_int4: Generator) -> None:
    report = evaluate_quality(tiny_int4, texts=[SHORT])
    value: dict[str, Any] = json.loads(json.dumps(report.to_json()))
    assert value["precision"] == "int4"
    assert value["path"] == str(tiny_int4.folder.path)
    assert value["windows"] == {"size": 256, "stride": 128}
    assert value["reference"] is None
    assert value["texts"] == [{**value["overall"], "name": "short"}]
    assert value["overall"]["comparison"] is None
    files = (tiny_int4.folder.path / name for name in ("model.onnx", "model.onnx.data"))
    assert value["num_bytes"] == sum(file.stat().st_size for file in files)


def test_no_texts(tiny: Generator) -> None:
    with pytest.raises(OptionError, match="texts is empty"):
        evaluate_quality(tiny, texts=[])
    with pytest.raises(OptionError, match=r"few: it has \d tokens, and at least 64"):
        evaluate_quality(tiny, texts=[SHORT, Text("few", "Hello!")])
