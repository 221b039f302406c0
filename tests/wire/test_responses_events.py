"""A response's events, put together, are the whole response; the last one is that already."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from genai.engine import GenerationResult, Piece
from genai.errors import GenerationError
from genai.tools import ToolCallDelta
from genai.wire import RESPONSES, AnswerFacts, Event, Exchange, read_body
from tests.scripted import CHATML, THINKING, make_scripted

TOOLS = [
    {
        "type": "function",
        "name": "look",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    }
]
CALL = '<tool_call>{"name": "look", "arguments": {"at": "%s"}}</tool_call>'
ANSWERS = [
    "plain words",
    "hm</think>so",
    f"hm</think>I look.{CALL % 'a'}{CALL % 'b'}",
    f"</think>{CALL % 'x'}",
    "",
]


def exchange_of(**fields: Any) -> Exchange:
    return read_body(RESPONSES, {"input": "?", "tools": TOOLS, "stream": True, **fields})


def replay(events: Iterable[Event]) -> dict[str, Any]:
    """Build a response as a client does, from nothing but what each event adds."""
    output: list[dict[str, Any]] = []
    response: dict[str, Any] = {}
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        kind = event["type"].removeprefix("response.")
        item = output[event["output_index"]] if "item_id" in event else {}
        assert item.get("id") == event.get("item_id")
        match kind:
            case "created" | "in_progress":
                assert event["response"]["status"] == "in_progress"
            case "output_item.added":
                assert event["output_index"] == len(output)
                assert all(each["status"] != "in_progress" for each in output)
                output.append(dict(event["item"]))
            case "content_part.added":
                item["content"] = [*item["content"], dict(event["part"])]
            case "output_text.delta" | "reasoning_text.delta":
                part = item["content"][event["content_index"]]
                part["text"] += event["delta"]
                if kind == "output_text.delta":
                    part["logprobs"] = [*part["logprobs"], *event["logprobs"]]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "output_text.done" | "reasoning_text.done":
                assert item["content"][0]["text"] == event["text"]
            case "function_call_arguments.done":
                assert (item["name"], item["arguments"]) == (event["name"], event["arguments"])
            case "content_part.done":
                assert item["content"][0]["text"] == event["part"]["text"]
            case "output_item.done":
                done = dict(event["item"])
                output[event["output_index"]]["status"] = done["status"]
                assert without_packing(done) == output[event["output_index"]]
            case "completed" | "incomplete":
                response = event["response"]
                assert [without_packing(each) for each in response["output"]] == output
            case _:
                raise AssertionError(f"nobody knows the event {kind}")
    return response


def without_packing(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "encrypted_content"}


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    output = [{**item, "id": item["id"].partition("_")[0]} for item in response["output"]]
    return {**response, "id": response["id"].partition("_")[0], "output": output}


@pytest.mark.parametrize("template", [CHATML, THINKING], ids=["plain", "thinking"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("limit", [100, 30, 12, 1])
def test_events_are_the_whole_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, limit: int, template: str
) -> None:
    if template == CHATML:
        answer = answer.rpartition("</think>")[2]
    generator, _ = make_scripted(tmp_path, monkeypatch, [answer], template=template)
    exchange = exchange_of(max_output_tokens=limit, include=["reasoning.encrypted_content"])
    facts = AnswerFacts("m", 1, lambda: generator.tokenizer)
    stream = generator.submit(
        generator.build_request(**exchange.request.prompts[0], **exchange.request.options)
    )
    writer = exchange.events(facts)
    events = list(writer.begin())
    for piece in stream:
        events += writer.of_piece(0, piece)
    assert isinstance(stream.result, GenerationResult)
    events += writer.end([stream.result])
    response = replay(events)
    whole = exchange.answer([stream.result], facts)
    assert without_ids(response) == without_ids(whole)
    is_cut = stream.result.finish_reason == "length"
    assert whole["status"] == ("incomplete" if is_cut else "completed")
    assert whole["incomplete_details"] == ({"reason": "max_output_tokens"} if is_cut else None)
    assert whole["usage"]["output_tokens"] == len(stream.result.token_ids)
    thought = whole["usage"]["output_tokens_details"]["reasoning_tokens"]
    assert bool(thought) == bool(stream.result.reasoning)


def events_of(pieces: Iterable[Piece]) -> list[Event]:
    writer = exchange_of().events(AnswerFacts("m", 1, lambda: pytest.fail("no token is shown")))
    return [event for piece in pieces for event in writer.of_piece(0, piece)]


def test_a_call_that_is_taken_back_was_never_told() -> None:
    begun = ToolCallDelta(0, id="call_1", name="look", arguments='{"at"')
    events = events_of(
        [
            Piece("", (1,), tool_calls=(begun,)),
            Piece("it is none", (2,), "stop", tool_calls=(ToolCallDelta(0, is_withdrawn=True),)),
        ]
    )
    assert "function_call" not in str(events)


def test_a_call_that_is_cut_off_is_incomplete() -> None:
    begun = ToolCallDelta(0, id="call_1", name="look", arguments='{"at"', is_sure=True)
    events = events_of(
        [
            Piece("", (1,), tool_calls=(begun,)),
            Piece("", (2,), "length", tool_calls=(ToolCallDelta(0, is_cut=True),)),
        ]
    )
    assert events[-1]["item"]["status"] == "incomplete"
    assert events[-1]["item"]["arguments"] == '{"at"'


def test_what_goes_wrong_is_the_last_of_it() -> None:
    writer = exchange_of().events(AnswerFacts("m", 1, lambda: pytest.fail("no token is shown")))
    begun = list(writer.begin())
    error, failed = writer.fail(GenerationError("no luck"))
    assert (error["type"], error["message"], error["code"]) == ("error", "no luck", "server_error")
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "no luck"}
    assert [each["sequence_number"] for each in (*begun, error, failed)] == [0, 1, 2, 3]
