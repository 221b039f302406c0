"""`Generator.rerank` scores documents as Qwen3-Reranker's card does with transformers, and sorts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genai import GenerationError, Generator, OptionError, RankedDocument
from genai.reranking import INSTRUCTION, TASK, judge
from genai.text import Tokenizer
from tests.checkpoints import load_reference, make_tokenizer
from tests.scripted import THINKING, make_scripted

Folders = Callable[..., tuple[Path, Path]]
QUERY = "the quick fox"
DOCUMENTS = ["the lazy dog", "a quick brown fox jumps", "the moon", "over the lazy dog " * 8, ""]
RERANKER = (
    "<|im_start|>system\n{{ messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first"
    " | default('Default') }}<|im_end|>\n{% for m in messages if m.role in ['query', 'document'] %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}<|im_start|>assistant\n"
)


def expected_scores(checkpoint: Path, instruction: str, documents: list[str]) -> list[float]:
    """As the card of Qwen3-Reranker computes them, a document at a time."""
    tokenizer, model = make_tokenizer(), load_reference(checkpoint)
    prefix = f"<|im_start|>system\n{TASK}<|im_end|>\n<|im_start|>user\n"
    suffix = "<|im_end|>\n<|im_start|>assistant\n"
    yes, no = (tokenizer(word, add_special_tokens=False).input_ids[0] for word in ("yes", "no"))
    scores = []
    for document in documents:
        text = f"<Instruct>: {instruction}\n<Query>: {QUERY}\n<Document>: {document}"
        ids = [
            i for part in (prefix, text, suffix) for i in tokenizer(part, add_special_tokens=False).input_ids
        ]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        scores.append(float(torch.log_softmax(logits[[no, yes]], dim=0)[1].exp()))
    return scores


@pytest.mark.parametrize("family", ["qwen3", "llama"])
@pytest.mark.parametrize("instruction", [None, "Find animals"])
def test_scores_are_transformers(family: str, instruction: str | None, model_folder: Folders) -> None:
    checkpoint, folder = model_folder(family, max_position_embeddings=1024)
    expected = expected_scores(checkpoint, instruction or INSTRUCTION, DOCUMENTS)
    with Generator(folder, provider="cpu", max_batch=2) as generator:
        found = generator.rerank(QUERY, DOCUMENTS, instruction=instruction)
    assert [each.index for each in found] == list(np.argsort(-np.array(expected), kind="stable"))
    assert [each.document for each in found] == [DOCUMENTS[each.index] for each in found]
    np.testing.assert_allclose([each.score for each in found], sorted(expected, reverse=True), atol=1e-4)


def test_the_best_are_returned() -> None:
    with Generator("demo") as generator:
        whole = generator.rerank("What is a KV cache?", DOCUMENTS)
        best = generator.rerank("What is a KV cache?", DOCUMENTS, top_n=2)
        assert [each.index for each in best] == [each.index for each in whole[:2]]
        assert generator.rerank("What?", []) == []
        assert generator.rerank("What?", ["same", "same"])[0].index == 0
        alone = generator.rerank("What is a KV cache?", DOCUMENTS[1:2])
        assert alone[0].score == pytest.approx(
            next(each.score for each in whole if each.index == 1), abs=1e-4
        )
        assert isinstance(alone[0], RankedDocument)


def test_prompts_end_where_the_answer_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def text_of(template: str, **options: Any) -> str:
        generator, _ = make_scripted(tmp_path, monkeypatch, [], template=template)
        options = {"instruction": None, **options}
        judgement = judge(generator.tokenizer, "Q", "D", **options)
        return generator.tokenizer.decode(judgement.token_ids, skip_special_tokens=False)

    assert text_of(THINKING).endswith(
        "<Query>: Q\n<Document>: D<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}"
    )
    assert text_of(refusing).startswith(TASK)
    assert "system\nDefault" in text_of(RERANKER)
    assert "system\nFind<|im_end|>\n<query>Q<document>D" in text_of(RERANKER, instruction="Find")


def test_a_model_without_template_is_asked_in_plain_words(model_folder: Folders, tmp_path: Path) -> None:
    folder = Tokenizer.from_folder(model_folder("llama")[1])
    folder.__dict__["chat_template"] = None
    judgement = judge(folder, "Q", "D", instruction=None)
    text = folder.decode(judgement.token_ids, skip_special_tokens=False)
    assert text.startswith(TASK)
    assert f"<Instruct>: {INSTRUCTION}\n<Query>: Q\n<Document>: D\n\nAnswer:" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, ["a"]), "query must be a text, not 5"),
        (("a", "b"), "documents must be a list of texts, not 'b'"),
        (("a", [5]), r"documents must be a list of texts, not \[5\]"),
        (("a", ["b", "b " * 9000]), r"documents\[1\] takes .* tokens with the query, and the context holds"),
    ],
)
def test_what_cannot_be_ranked(arguments: Any, message: str) -> None:
    with Generator("demo") as demo, pytest.raises(OptionError, match=message):
        demo.rerank(*arguments)
    with pytest.raises(GenerationError, match="closed"):
        demo.rerank("a", ["b"])


def test_an_impossible_number_is_refused() -> None:
    with Generator("demo") as demo, pytest.raises(OptionError, match="top_n must be an integer >= 1"):
        demo.rerank("a", ["b"], top_n=0)
