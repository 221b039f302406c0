"""Answers of every format: what they mean, that no cut changes it, and that nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genai.tools import (
    FORMATS,
    Answer,
    AnswerDelta,
    AnswerParser,
    AnswerParts,
    FormParser,
    ReasoningFormat,
    parse_answer,
)
from genai.tools.reasoning import REASONINGS
from tests.tools.recorded import RECORDED, TOOLS, Recorded

REASONING_OF = {
    "mistral-named": "[THINK]",
    "command": "<|START_THINKING|>",
    "harmony": "<|channel|>analysis<|message|>",
    "gemma4": "<|channel>thought",
    "kimi": "◁think▷",
}


def reasoning_of(name: str) -> ReasoningFormat:
    begin = REASONING_OF.get(name, "<think>")
    fitting = [each for each in REASONINGS if each.begin == begin]
    return fitting[0] if name == "granite" else fitting[-1]


def make_parser(name: str, *, is_reasoning: bool = False) -> AnswerParser:
    (tool_format,) = [each for each in FORMATS if each.name == name]
    return AnswerParser(
        tool_format,
        TOOLS,
        reasoning=reasoning_of(name),
        is_reasoning=is_reasoning,
        make_id=lambda: "made",
    )


def parser_of(recorded: Recorded) -> AnswerParser:
    begins_in_reasoning = "</think>" in recorded.text and "<think>" not in recorded.text
    return make_parser(recorded.format, is_reasoning=begins_in_reasoning)


def put_together(deltas: Iterable[AnswerDelta]) -> Answer:
    parts = AnswerParts()
    parts.add(deltas)
    return parts.answer


def in_pieces(parser: AnswerParser, pieces: Iterable[str]) -> list[AnswerDelta]:
    return [*map(parser.push, pieces), parser.finish()]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: f"{each.format}: {each.text[:50]}")
def test_what_a_recorded_answer_means(recorded: Recorded) -> None:
    answer = parse_answer(parser_of(recorded), recorded.text)
    assert [(call.name, call.arguments) for call in answer.tool_calls] == list(recorded.calls)
    assert answer.text == (recorded.text if recorded.said is None else recorded.said)
    assert answer.reasoning == recorded.reasoning
    if recorded.ids is not None:
        assert tuple(call.id for call in answer.tool_calls) == recorded.ids
    for call in answer.tool_calls:
        assert json.loads(call.arguments_json) == call.arguments


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: f"{each.format}: {each.text[:50]}")
def test_no_cut_changes_what_an_answer_means(recorded: Recorded) -> None:
    text, whole = recorded.text, parse_answer(parser_of(recorded), recorded.text)
    assert put_together(in_pieces(parser_of(recorded), text)) == whole
    for cut in range(len(text)):
        assert put_together(in_pieces(parser_of(recorded), [text[:cut], text[cut:]])) == whole, text[:cut]


@given(st.data(), st.sampled_from(RECORDED))
def test_damage_and_cuts_together(data: st.DataObject, recorded: Recorded) -> None:
    check_damage_and_cuts(data, recorded)


@pytest.mark.slow
@settings(max_examples=5000)
@given(st.data(), st.sampled_from(RECORDED))
def test_much_damage_and_many_cuts(data: st.DataObject, recorded: Recorded) -> None:
    check_damage_and_cuts(data, recorded)


def check_damage_and_cuts(data: st.DataObject, recorded: Recorded) -> None:
    """What is damaged anywhere, and cut anyhow, raises nothing and means the same whole and in pieces."""
    place = st.integers(0, len(recorded.text))
    first, second = sorted((data.draw(place), data.draw(place)))
    other = data.draw(
        st.sampled_from(
            [
                "",
                "<",
                "{",
                '"',
                "\\",
                " ",
                "\u00a0",
                "\u3000",
                "\f",
                "\\ud800",
                "x",
                "</tool_call>",
                recorded.text,
            ]
        )
    )
    text = recorded.text[:first] + other + recorded.text[second:]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = parse_answer(parser_of(recorded), text)
    assert put_together(in_pieces(parser_of(recorded), pieces)) == whole


@given(st.sampled_from([each.name for each in FORMATS]), st.text())
@example("hermes", " \n<tool_call>\n ")
@example("generic", ' {"name": "get_time", "arguments": "\\ud800')
def test_text_without_calls_stays_as_it_is(name: str, text: str) -> None:
    assert parse_answer(make_parser(name), text) == Answer(text)


@pytest.mark.parametrize("name", [each.name for each in FORMATS])
def test_a_parser_without_tools_leaves_calls_as_they_are(name: str) -> None:
    texts = [each.text for each in RECORDED if each.format == name and not each.reasoning and each.calls]
    (tool_format,) = [each for each in FORMATS if each.name == name]
    for text in texts:
        answer = parse_answer(AnswerParser(tool_format), text)
        assert answer.tool_calls == ()
        if not tool_format.silent:
            assert answer.text == text


def test_arguments_come_while_they_are_written() -> None:
    parser = make_parser("hermes")
    deltas = in_pieces(
        parser, ['<tool_call>{"name": "get_time", "arg', 'uments": {"zone": "C', "E", 'T"}}</tool_call> ok']
    )
    pieces = [piece for delta in deltas for piece in delta.tool_calls]
    assert [(piece.id, piece.name, piece.arguments) for piece in pieces] == [
        ("made", "get_time", '{"zone": "C'),
        (None, None, "E"),
        (None, None, 'T"}'),
    ]
    assert deltas[-2].text == "ok"


def test_parameters_come_one_by_one() -> None:
    parser = make_parser("minimax")
    parser.push('<minimax:tool_call><invoke name="get_weather"><parameter name="city">Par')
    (first,) = parser.push('is</parameter><parameter name="days">').tool_calls
    assert (first.name, first.arguments) == ("get_weather", '{"city": "Paris"')
    (second,) = parser.push("3</parameter>").tool_calls
    assert (second.name, second.arguments) == (None, ', "days": 3')


def test_a_call_that_breaks_off_is_withdrawn_and_told_as_text() -> None:
    parser = make_parser("hermes")
    text = '<tool_call>{"name": "get_time", "arguments": {"zone": "C'
    (announced,) = parser.push(text).tool_calls
    assert announced.name == "get_time"
    last = parser.finish()
    assert last.text == text
    assert [(piece.index, piece.is_withdrawn) for piece in last.tool_calls] == [(0, True)]


def test_reasoning_comes_while_it_is_thought() -> None:
    parser = make_parser("hermes", is_reasoning=True)
    assert [parser.push(text).reasoning for text in ("\nIn ", "Par", "is?\n", "\nYes.\n</thi")] == [
        "In",
        " Par",
        "is?",
        "\n\nYes.",
    ]
    assert parser.push("nk>\n\nSo").text == "So"
    assert parser.finish().text == ""


def test_reasoning_that_does_not_end_stays_reasoning() -> None:
    assert parse_answer(make_parser("hermes"), "<think>\nIn Pa") == Answer(reasoning="In Pa")


def test_deep_nesting_and_long_answers_are_no_danger() -> None:
    deep = '<tool_call>{"name": "get_time", "arguments": {"zone": ' + "[" * 100_000
    assert parse_answer(make_parser("hermes"), deep) == Answer(deep)
    many = "<tool_call>" * 20_000
    assert put_together(
        in_pieces(make_parser("hermes"), [many[i : i + 7] for i in range(0, len(many), 7)])
    ) == Answer(many)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The `<think>` tag marks it.", Answer("The `<think>` tag marks it.")),
        ("<think>Hm.</think>Use <think>x</think>.", Answer("Use <think>x</think>.", "Hm.")),
        ("<think>a</think>\n<think>b</think> c", Answer("c", "a\n\nb")),
        ("Write <answer>5</answer> then.", Answer("Write <answer>5</answer> then.")),
        ("<think>Hm.</think>\n<answer>\n5\n</answer>\n", Answer("5", "Hm.")),
        ("<answer>5</answer> or <answer>6</answer>", Answer("5</answer> or <answer>6")),
        ("<answer>A </answer> tag", Answer("A </answer> tag")),
    ],
)
def test_markers_that_are_spoken_of_are_text(text: str, answer: Answer) -> None:
    reasoning = next(each for each in REASONINGS if "<answer>" in each.answer_begins)
    assert parse_answer(AnswerParser(reasoning=reasoning), text) == answer
    assert put_together(in_pieces(AnswerParser(reasoning=reasoning), text)) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think> a </think>\n\n\n <b>", Answer("\n <b>", "a")),
        ("a<think>b</think>", Answer("a<think>b</think>")),
        ("<think>a</think><answer>b</answer></answer>", Answer("b</answer>", "a")),
        ("b</answer", Answer("b</answer")),
        ("<thin", Answer("<thin")),
        ("<think>a", Answer("", "a")),
    ],
)
def test_an_answer_in_form_is_told_as_it_is(text: str, answer: Answer) -> None:
    reasoning = next(each for each in REASONINGS if "<answer>" in each.answer_begins)
    assert parse_answer(FormParser(reasoning), text) == answer
    assert put_together(in_pieces(FormParser(reasoning), text)) == answer


def test_a_schema_may_be_true_and_a_text_of_json_holds_no_half_characters() -> None:
    (tool_format,) = [each for each in FORMATS if each.name == "glm"]
    either: dict[str, Any] = {
        "properties": {"a": {"anyOf": [True, {"type": "integer"}]}, "b": {"type": "array"}}
    }

    def value(name: str, text: str) -> Any:
        call = f"<tool_call>f\n<arg_key>{name}</arg_key>\n<arg_value>{text}</arg_value>\n</tool_call>"
        (read,) = parse_answer(AnswerParser(tool_format, {"f": either}), call).tool_calls
        return read.arguments[name]

    assert value("a", "5") == 5
    assert value("b", '["\\ud83d\\ude00"]') == ["\U0001f600"]
    assert value("b", '["\\ud83d"]') == '["\\ud83d"]'
