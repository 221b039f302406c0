"""Multiple choice: the likelier choice wins, lengths aside; wrong files are refused by line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai.config import Message
from genai.errors import OptionError
from genai.evaluation.quality import Question, Text, evaluate_quality, packaged_texts, read_task
from genai.evaluation.quality.tasks import passages_of
from genai.generator import Generator
from genai.text import prefix_of
from tests.evaluation.quality.conftest import slow_nlls

TEXT = Text("prose", packaged_texts()[0].content[:400])


def write(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_a_known_winner(demo: Generator, tmp_path: Path) -> None:
    messages = [Message("user", "What is a KV cache?")]
    answer = demo.chat(messages, max_new_tokens=24, do_sample=False).text
    asked = demo.tokenizer.apply_chat_template(messages)
    wrong = ["Blue.", "Potatoes " * 12]
    path = write(
        tmp_path / "task.jsonl",
        {"question": asked, "choices": [wrong[0], answer, wrong[1]], "answer": 1, "id": 7},
        "",
        {"question": asked, "choices": [answer, *wrong], "answer": 0},
        {"question": asked, "choices": [answer, *wrong], "answer": 2},
    )
    report = evaluate_quality(demo, texts=[TEXT], tasks=[read_task(path)])
    (found,) = report.tasks
    assert (found.name, found.num_questions) == ("task.jsonl", 3)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.standard_error == pytest.approx(math.sqrt(2 / 3 * 1 / 3 / 3))


def test_scores_are_those_of_a_slow_twin(tiny: Generator, tmp_path: Path) -> None:
    choices = ["the river", "a very long walk along the hills", "Öl"]
    question = "In the morning they went to see"
    tokenizer = tiny.tokenizer
    asked = [*prefix_of(tokenizer), *tokenizer.encode(question, add_special_tokens=False)]
    scores = []
    for choice in choices:
        row = [
            *prefix_of(tokenizer),
            *tokenizer.encode(f"{question} {choice}", add_special_tokens=False),
        ]
        assert row[: len(asked)] == asked
        logits = tiny.logits(token_ids=row).astype(np.float64)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        score = sum(logits[i - 1, row[i]] for i in range(len(asked), len(row)))
        scores.append(score / len(choice.encode()))
    best = int(np.argmax(scores))
    path = write(
        tmp_path / "t",
        *({"question": question, "choices": choices, "answer": index} for index in range(len(choices))),
    )
    report = evaluate_quality(tiny, texts=[TEXT], tasks=[read_task(path)])
    assert report.tasks[0].accuracy == pytest.approx(1 / 3)
    for index in range(len(choices)):
        path = write(tmp_path / "t", {"question": question, "choices": choices, "answer": index})
        report = evaluate_quality(tiny, texts=[TEXT], tasks=[read_task(path)])
        assert report.tasks[0].accuracy == (index == best)


@pytest.mark.parametrize(
    ("text", "choice", "expected"),
    [("Is it", "so", "Is it so"), ("Is it ", "so", "Is it so"), ("Is it", "\nso", "Is it\nso")],
)
def test_what_stands_between_question_and_choice(
    tiny: Generator, text: str, choice: str, expected: str
) -> None:
    question = Question(text, (choice, "other"), 0, "t:1")
    assert question.continued(choice) == expected
    passages = passages_of(question, tiny.tokenizer, prefix=[], context_length=64)
    whole = tiny.tokenizer.encode(expected, add_special_tokens=False)
    assert list(passages[0].token_ids) == whole
    # Whatever becomes one token with the choice belongs to it.
    scored = tiny.tokenizer.decode(whole[-passages[0].num_scored :])
    assert scored.endswith(choice)
    assert slow_nlls(tiny, passages[0]).shape == (passages[0].num_scored,)


GOOD: dict[str, Any] = {"question": "Is it", "choices": ["so", "not so"], "answer": 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "a question is an object"),
        ({"question": "Is it", "choices": ["a", "b"]}, '"answer" is missing'),
        ({**GOOD, "question": " "}, '"question" must be a text'),
        ({**GOOD, "question": 3}, '"question" must be a text, not 3'),
        ({**GOOD, "choices": "so"}, '"choices" must be a list of texts'),
        ({**GOOD, "choices": ["so", ""]}, '"choices" must be a list of texts'),
        ({**GOOD, "choices": ["so"]}, "at least two different texts"),
        ({**GOOD, "choices": ["so", "so"]}, "at least two different texts"),
        ({**GOOD, "answer": 2}, '"answer" must be the index of a choice, 0 to 1, not 2'),
        ({**GOOD, "answer": True}, '"answer" must be the index'),
        ({**GOOD, "answer": "0"}, '"answer" must be the index'),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path / "task.jsonl", GOOD, "", line)
    with pytest.raises(OptionError, match=f"task.jsonl:3: .*{message}"):
        read_task(path)


def test_files_without_questions(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no question in it"):
        read_task(write(tmp_path / "task.jsonl", "", " "))
    with pytest.raises(OptionError, match="cannot be read: No such file"):
        read_task(tmp_path / "nowhere.jsonl")


def test_a_question_that_is_too_long(tiny: Generator, tmp_path: Path) -> None:
    path = write(tmp_path / "task.jsonl", GOOD, {**GOOD, "question": "so " * 400})
    with pytest.raises(
        OptionError, match=r"task.jsonl:2: question and choice have \d+ tokens, but the context"
    ):
        evaluate_quality(tiny, texts=[TEXT], tasks=[read_task(path)])
