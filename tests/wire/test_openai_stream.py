"""A stream's chunks, put together, are the whole answer: text, reasoning, calls, why it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genai.engine import GenerationResult, Piece
from genai.tools import ToolCallDelta
from genai.wire import AnswerFacts, Event, Exchange, read_body
from tests.scripted import THINKING, make_scripted

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
        },
    }
]
CALL = '<tool_call>{"name": "look", "arguments": {"at": "%s"}}</tool_call>'
ANSWERS = [
    "plain words",
    "hm</think>so",
    f"hm</think>I look.{CALL % 'a'}{CALL % 'b'}",
    f"{CALL % 'a'[:-20]} is damaged",
    "</think>" + (CALL % "x")[:-16],
]


def exchange_of(**fields: Any) -> Exchange:
    body = {"messages": [{"role": "user", "content": "?"}], "tools": TOOLS, "stream": True, **fields}
    return read_body("/v1/chat/completions", body)


def no_tokenizer() -> Any:
    raise AssertionError("nobody asked for log-probabilities")


FACTS = AnswerFacts("m", 1, no_tokenizer)


def chunks_of(exchange: Exchange, pieces: Iterable[Piece]) -> Iterator[Event]:
    chunks = exchange.events(FACTS)
    for piece in pieces:
        yield from chunks.of_piece(0, piece)


def put_together(chunks: Iterable[Event]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for chunk in chunks:
        (choice,) = chunk["choices"]
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                add_call(message.setdefault(name, []), *value)
            else:
                message[name] = message.get(name, "") + value
    return {"message": message, "finish_reason": choice["finish_reason"]}


def add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Add a piece of a call as OpenAI's clients do."""
    if piece["index"] == len(calls):
        assert piece["function"]["arguments"] == ""
        calls.append({name: value for name, value in piece.items() if name != "index"})
    else:
        assert piece.keys() == {"index", "function"}
        calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("max_tokens", [100, 40, 20])
def test_chunks_are_the_whole_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, max_tokens: int
) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, [answer], template=THINKING)
    exchange = exchange_of(max_tokens=max_tokens)
    stream = generator.submit(
        generator.build_request(**exchange.request.prompts[0], **exchange.request.options)
    )
    found = put_together(chunks_of(exchange, list(stream)))
    result = stream.result
    assert isinstance(result, GenerationResult)
    body = exchange.answer([result], FACTS)
    (whole,) = body["choices"]
    expected = {name: value for name, value in whole["message"].items() if name != "refusal"}
    found["message"]["content"] = found["message"]["content"] or expected["content"]
    assert found == {"message": expected, "finish_reason": whole["finish_reason"]}


def test_a_call_that_must_come_is_told_in_pieces_and_stays_where_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = CALL % "a b c d e f g h i j k l m n"
    generator, _ = make_scripted(tmp_path, monkeypatch, [said])
    exchange = exchange_of(tool_choice="required", max_tokens=40)
    stream = generator.submit(
        generator.build_request(**exchange.request.prompts[0], **exchange.request.options)
    )
    chunks = list(chunks_of(exchange, list(stream)))
    assert stream.result is not None
    assert len([True for chunk in chunks if "tool_calls" in chunk["choices"][0]["delta"]]) > 5
    (choice,) = exchange.answer([stream.result], FACTS)["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["arguments"].startswith('{"at"')
    assert not call["function"]["arguments"].endswith("}")
    assert choice["finish_reason"] == "length"
    found = put_together(chunks)
    assert found["message"]["tool_calls"] == [call]
    assert found["finish_reason"] == "length"


def test_a_call_that_is_taken_back_was_never_told() -> None:
    begun = ToolCallDelta(0, id="call_1", name="look", arguments='{"at"')
    pieces = [
        Piece("", (1,), tool_calls=(begun,)),
        Piece("<tool_call>it is none", (2,), tool_calls=(ToolCallDelta(0, is_withdrawn=True),)),
        Piece("", (3,), "stop"),
    ]
    found = put_together(chunks_of(exchange_of(), pieces))
    assert found == {
        "message": {"role": "assistant", "content": "<tool_call>it is none"},
        "finish_reason": "stop",
    }
