"""A form of answers where the model reasons before: the reasoning is free, the form is that of the answer behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from genai import GenerationResult, Generator, Message, Piece
from genai.cache import Slot
from tests.scripted import CHATML, THINKING, ScriptedModel, make_scripted

ASK = [Message("user", "How warm is it in Paris?")]
FREE = THINKING.replace("<think>\n", "")
HARMONY = CHATML.replace("<|im_start|>assistant\n{%", "<|start|>assistant{%") + "{# <|channel|><|message|> #}"
CLOSED = THINKING.replace("<think>\n", "<think>\n\n</think>\n\n")
RESPONSE = FREE + "{# <response> #}"
SCHEMA = {
    "type": "object",
    "properties": {"html": {"type": "string", "maxLength": 20}, "n": {"enum": [1, 20]}},
    "required": ["html", "n"],
    "additionalProperties": False,
}
GBNF = 'root ::= "yes" | "no" [a-z]+'
FORMS: list[tuple[Any, str]] = [
    (SCHEMA, '{"html": "<think>", "n": 20}'),
    ({"type": "regex", "regex": r"[a-z<>/]+: \d"}, "</response>: 3"),
    ([" yes", "no"], " yes"),
    ({"type": "grammar", "grammar": 'start: "a"+ b\nb: "<think>"'}, "aa<think>"),
    ({"type": "grammar", "grammar": GBNF}, "nobody"),
]
Make = Callable[..., tuple[Generator, ScriptedModel]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(answers: Sequence[str], **options: Any) -> tuple[Generator, ScriptedModel]:
        return make_scripted(tmp_path, monkeypatch, answers, **options)

    return make


def joined(pieces: Sequence[Piece]) -> tuple[str, str]:
    return "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces)


@pytest.mark.parametrize("special", [(), ("<think>", "</think>", "<tool_call>")], ids=["texts", "tokens"])
@pytest.mark.parametrize(("form", "text"), FORMS, ids=lambda each: str(each)[:24])
@pytest.mark.parametrize("template", [THINKING, FREE, RESPONSE], ids=["begun", "free", "response"])
def test_reasoning_comes_free_and_the_answer_in_form(
    make: Make, template: str, form: Any, text: str, special: Sequence[str]
) -> None:
    if special and form is SCHEMA:  # where a tag is a token, no text stands for one
        text = text.replace("<think>", "<b>")
    thought = f"A tag, <tool_call>{{}}, or {text}?"
    said = f"{'' if template == THINKING else '<think>'}{thought}\n</think>\n\n{text}"
    generator, _ = make([said], template=template, special_tokens=special)
    result = generator.chat(ASK, response_format=form)
    expected = json.loads(text) if form is SCHEMA else text
    shown = thought.replace("<tool_call>", "") if special else thought
    assert (result.text, result.reasoning.replace("<tool_call>", ""), result.parsed) == (
        text,
        shown.replace("<tool_call>", ""),
        expected,
    )
    assert result.finish_reason == "stop"
    assert joined(list(generator.stream_chat(ASK, response_format=form))) == (result.text, result.reasoning)
    beams = generator.chat(ASK, response_format=form, num_beams=2, num_return_sequences=2)
    assert (beams.text, beams.reasoning, beams.parsed) == (result.text, result.reasoning, expected)


@pytest.mark.parametrize(
    "template", [FREE, RESPONSE, CLOSED, CHATML], ids=["free", "response", "closed", "none"]
)
@pytest.mark.parametrize(("form", "text"), FORMS, ids=lambda each: str(each)[:24])
def test_an_answer_may_come_without_reasoning(make: Make, template: str, form: Any, text: str) -> None:
    generator, _ = make([text], template=template)
    result = generator.chat(ASK, response_format=form)
    assert (result.text, result.reasoning) == (text, "")
    assert result.parsed == (json.loads(text) if form is SCHEMA else text)


def test_what_a_template_puts_around_answers_is_no_part_of_them(make: Make) -> None:
    generator, _ = make(["<think>Well.</think>\n<response>no</response>"], template=RESPONSE)
    result = generator.chat(ASK, response_format=["no", "yes"])
    assert (result.text, result.reasoning, result.parsed) == ("no", "Well.", "no")


def test_channels(make: Make) -> None:
    said = "<|channel|>analysis<|message|>Yes or no?<|end|><|start|>assistant<|channel|>final<|message|>no"
    special = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>")
    generator, _ = make([said], template=HARMONY, special_tokens=special)
    result = generator.chat(ASK, response_format=["no", "yes"])
    assert (result.text, result.reasoning, result.parsed) == ("no", "Yes or no?", "no")


def test_a_prompt_that_goes_on_with_an_answer(make: Make) -> None:
    """Within its reasoning the rest of that comes first, and behind it none comes any more."""
    generator, _ = make(["not sure.</think>no", "no", "not sure.</think>no"], template=FREE)
    options: Any = {"response_format": ["no", "yes"], "continue_final_message": True}
    result = generator.chat([*ASK, Message("assistant", "<think>I am ")], **options)
    assert (result.text, result.reasoning, result.parsed) == ("no", "not sure.", "no")
    result = generator.chat([*ASK, Message("assistant", "<think>Hm.</think>Well, ")], **options)
    assert (result.text, result.reasoning, result.parsed) == ("no", "", "no")
    options = {"continue_final_message": True}
    result = generator.chat([*ASK, Message("assistant", "<think>I am not")], **options)
    assert (result.text, result.reasoning) == ("no", "not sure.")


@pytest.mark.parametrize("limit", [0, 3])
@pytest.mark.parametrize("template", [THINKING, FREE], ids=["begun", "free"])
def test_reasoning_ends_at_its_limit_and_the_form_follows(make: Make, template: str, limit: int) -> None:
    said = f"{'' if template == THINKING else '<think>'}one two three four five six seven eight nine"
    generator, _ = make([said], template=template, special_tokens=["<think>", "</think>"])
    result = generator.chat(ASK, response_format=SCHEMA, max_reasoning_tokens=limit, max_new_tokens=200)
    assert result.token_ids.index(generator.tokenizer.added_tokens["</think>"]) == limit + (template == FREE)
    assert result.parsed == json.loads(result.text)


def test_several_sequences_and_guesses(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random logits, in which reasoning ends by chance."""
    generator, model = make([], template=THINKING, special_tokens=["<think>", "</think>"])
    end = generator.tokenizer.added_tokens["</think>"]

    def noise(slot: Slot) -> npt.NDArray[np.float32]:
        logits = np.random.default_rng(abs(hash(tuple(slot.token_ids)))).normal(size=model.vocab_size)
        logits[end] += 5
        return logits.astype(np.float32)

    monkeypatch.setattr(model, "_logits", noise)
    options: Any = {"response_format": SCHEMA, "temperature": 1.0, "max_new_tokens": 300}

    def check(result: GenerationResult) -> None:
        for choice in result.choices:
            if choice.finish_reason == "stop":
                assert choice.parsed == json.loads(choice.text)

    for seed in range(4):
        result = generator.chat(ASK, num_return_sequences=3, seed=seed, speculative="off", **options)
        check(result)
        again = generator.chat(ASK, num_return_sequences=3, seed=seed, speculative="ngram", **options)
        assert [each.token_ids for each in again.choices] == [each.token_ids for each in result.choices]
        assert {each.finish_reason for each in result.choices} >= {"stop"}
