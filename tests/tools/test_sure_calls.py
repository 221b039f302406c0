"""Calls that a grammar holds the model to: told as they come, never taken back, and cut where the answer ends in them."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.config import CutCall, ToolCall
from genai.tools import (
    FORMATS,
    Answer,
    AnswerDelta,
    AnswerParser,
    AnswerParts,
    SettledCalls,
    ToolCallDelta,
    parse_answer,
)
from tests.tools.recorded import RECORDED, TOOLS, Recorded

HELD = [each for each in RECORDED if each.is_canonical and each.calls]
BEGUN = '<tool_call>{"name": "get_time", "arguments": '
CALL = BEGUN + '{"zone": "CET"}}</tool_call>'


def make_parser(name: str = "hermes", *, are_calls_sure: bool = True) -> AnswerParser:
    (tool_format,) = [each for each in FORMATS if each.name == name]
    return AnswerParser(tool_format, TOOLS, are_calls_sure=are_calls_sure, make_id=lambda: "made")


def deltas_of(parser: AnswerParser, pieces: Iterable[str]) -> list[AnswerDelta]:
    return [*map(parser.push, pieces), parser.finish()]


def put_together(deltas: Iterable[AnswerDelta]) -> Answer:
    parts = AnswerParts()
    parts.add(deltas)
    return parts.answer


def settled(deltas: Iterable[AnswerDelta]) -> list[ToolCallDelta]:
    calls = SettledCalls()
    return [
        *(each for delta in deltas for each in calls.push(delta.tool_calls)),
        *calls.push((), is_finished=True),
    ]


@pytest.mark.parametrize("recorded", HELD, ids=lambda each: f"{each.format}: {each.text[:50]}")
def test_wherever_an_answer_is_cut_what_was_told_stays(recorded: Recorded) -> None:
    whole = parse_answer(make_parser(recorded.format), recorded.text)
    assert whole.cut_call is None
    names = [call.name for call in whole.tool_calls]
    for length in range(len(recorded.text)):
        text = recorded.text[:length]
        answer = parse_answer(make_parser(recorded.format), text)
        deltas = deltas_of(make_parser(recorded.format), text)
        assert put_together(deltas) == answer
        told = [piece for delta in deltas for piece in delta.tool_calls]
        assert not any(piece.is_withdrawn for piece in told)
        assert all(piece.is_sure for piece in told if piece.name is not None)
        cut = [] if answer.cut_call is None else [answer.cut_call.name]
        assert names[: len(answer.tool_calls) + len(cut)] == [call.name for call in answer.tool_calls] + cut


def test_all_of_the_arguments_that_came_stay() -> None:
    for text, arguments in (
        ('{"zone": "C', '{"zone": "C'),
        ('{"zone": "CET"', '{"zone": "CET"'),
        ('{"zone": tru', '{"zone": tru'),
    ):
        answer = parse_answer(make_parser(), BEGUN + text)
        assert answer == Answer(cut_call=CutCall("made", "get_time", arguments))


def test_a_call_that_was_not_begun_is_text() -> None:
    text = '<tool_call>{"name": "get_time", "argu'
    assert parse_answer(make_parser(), text) == Answer(text)


def test_behind_a_call_that_breaks_off_all_is_text() -> None:
    """Where other options leave a grammar no token, the model is let go within a call."""
    broken = BEGUN + '{"zone": oh, no}} '
    answer = parse_answer(make_parser(), broken + CALL)
    assert answer.cut_call == CutCall("made", "get_time", '{"zone": oh')
    assert answer.tool_calls == ()
    assert answer.text == ", no}} " + CALL
    assert put_together(deltas_of(make_parser(), broken + CALL)) == answer


def test_other_forms_of_a_format_are_taken_back() -> None:
    (tool_format,) = [each for each in FORMATS if each.name == "qwen3-coder"]
    other = tool_format.blocks[1].begin or tool_format.blocks[1].marker
    text = f"{other}get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>"
    answer = parse_answer(make_parser("qwen3-coder"), text)
    assert answer.text.startswith(other)
    assert answer.cut_call is None


@given(st.lists(st.sampled_from(["a ", CALL, CALL[:60], CALL[:30]]), max_size=4), st.booleans(), st.data())
def test_settled_calls_are_those_of_the_answer(parts: list[str], are_sure: bool, data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    answer = parse_answer(make_parser(are_calls_sure=are_sure), text)
    found: dict[int, dict[str, str]] = {}
    for each in settled(deltas_of(make_parser(are_calls_sure=are_sure), pieces)):
        assert not each.is_withdrawn
        if each.name is not None:
            assert each.arguments == ""
            found[each.index] = {"name": each.name, "arguments": ""}
        found[each.index]["arguments"] += each.arguments
    expected: list[ToolCall | CutCall] = [*answer.tool_calls, *filter(None, [answer.cut_call])]
    assert list(found.values()) == [
        {"name": call.name, "arguments": call.arguments_json} for call in expected
    ]
    assert all(json.loads(call.arguments_json) == call.arguments for call in answer.tool_calls)
