"""Anthropic's messages: blocks as messages, and a stream's events, put together, as the whole answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jiter
import pytest

from genai.engine import GenerationResult
from genai.errors import OptionError
from genai.wire import MESSAGES, AnswerFacts, BodyError, Event, Exchange, read_body, read_count_request
from genai.wire.anthropic.cut_input import cut_input
from tests.scripted import THINKING, make_scripted

ASK = [{"role": "user", "content": "?"}]
TOOL = {
    "name": "look",
    "description": "Look there.",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}},
}
CALL = '<tool_call>{"name": "look", "arguments": {"at": "%s"}}</tool_call>'
ANSWERS = [
    "plain words",
    "hm</think>so",
    f"hm</think>I look.{CALL % 'a'}{CALL % 'b'}",
    f"{CALL % 'a'[:-20]} is damaged",
    "</think>" + (CALL % "x")[:-16],
]


def no_tokenizer() -> Any:
    raise AssertionError("nobody asked for tokens")


FACTS = AnswerFacts("m", 1, no_tokenizer, num_prompt_tokens=7)


def exchange_of(**fields: Any) -> Exchange:
    return read_body(MESSAGES, {"messages": ASK, "max_tokens": 200, **fields})


def prompt_of(**fields: Any) -> dict[str, Any]:
    (prompt,) = exchange_of(**fields).request.prompts
    return dict(prompt)


def put_together(events: Iterable[Event]) -> dict[str, Any]:
    """Do what clients do, and join blocks of texts: a stream may have several where the whole answer has one."""
    message: dict[str, Any] = {}
    blocks: list[dict[str, Any]] = []
    for event in events:
        match event["type"]:
            case "message_start":
                message = dict(event["message"])
            case "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append({**event["content_block"], "json": ""})
            case "content_block_delta":
                delta, block = event["delta"], blocks[event["index"]]
                assert event["index"] == len(blocks) - 1
                for name in ("text", "thinking"):
                    if name in delta:
                        block[name] += delta[name]
                block["json"] += delta.get("partial_json", "")
            case "message_delta":
                message |= {**event["delta"], "usage": event["usage"]}
    for block in blocks:
        if text := block.pop("json"):
            block["input"] = jiter.from_json(text.encode(), partial_mode=True)  # as Anthropic's client does
    return {**message, "content": joined(blocks)}


def joined(blocks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    texts: dict[str, dict[str, Any]] = {}
    calls = []
    for block in blocks:
        kind = block["type"]
        if kind == "tool_use":
            calls.append(block)
        elif kind in texts:
            texts[kind][kind] += block[kind]
        else:
            texts[kind] = dict(block)
    return [*texts.values(), *calls]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("stop", [[], ["so", "look"]])
@pytest.mark.parametrize("limit", [200, 40, 12])
def test_events_are_the_whole_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, stop: list[str], limit: int
) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, [answer], template=THINKING)
    exchange = exchange_of(tools=[TOOL], stream=True, stop_sequences=stop, max_tokens=limit)
    request = exchange.request
    stream = generator.submit(
        generator.build_request(**request.arguments(request.prompts[0], lambda: generator.tokenizer))
    )
    events = exchange.events(FACTS)
    told = [*events.begin(), *(event for piece in stream for event in events.of_piece(0, piece))]
    result = stream.result
    assert isinstance(result, GenerationResult)
    told += events.end([result])
    found, whole = put_together(told), exchange.answer([result], FACTS)
    assert {**found, "id": ""} == {**whole, "id": ""}
    assert [event["type"] for event in told][-2:] == ["message_delta", "message_stop"]
    begun = [event["type"] for event in told if event["type"].startswith("content_block_st")]
    assert begun == ["content_block_start", "content_block_stop"] * (len(begun) // 2)
    reasons = {
        "max_tokens": result.finish_reason == "length",
        "stop_sequence": result.stop_text is not None,
        "tool_use": bool(result.tool_calls),
        "end_turn": True,
    }
    assert found["stop_reason"] == next(reason for reason, holds in reasons.items() if holds)
    assert found["stop_sequence"] == result.stop_text


def test_the_input_of_a_call_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, [CALL % "a b c d e f g h"])
    for limit in (200, 42):
        exchange = exchange_of(tools=[TOOL], stream=True, max_tokens=limit, tool_choice={"type": "any"})
        request = exchange.request
        stream = generator.submit(
            generator.build_request(**request.arguments(request.prompts[0], lambda: generator.tokenizer))
        )
        events = exchange.events(FACTS)
        told = [*events.begin(), *(event for piece in stream for event in events.of_piece(0, piece))]
        assert stream.result is not None
        told += events.end([stream.result])
        pieces = [event for event in told if event["type"] == "content_block_delta"]
        assert len(pieces) > 2
        (block,) = put_together(told)["content"]
        (whole,) = exchange.answer([stream.result], FACTS)["content"]
        assert block == whole
        assert bool(block["input"]) == (limit == 200)


def test_a_call_that_is_cut_off_is_told_as_far_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = '<tool_call>{"name": "look", "arguments": {"at": "there", "also": ["a", "b"]}}</tool_call>'
    generator, _ = make_scripted(tmp_path, monkeypatch, [f"hm</think>I look.{call}"], template=THINKING)
    reasons = set()
    for limit in range(1, 80):
        exchange = exchange_of(tools=[TOOL], max_tokens=limit, stream=True)
        request = exchange.request
        stream = generator.submit(
            generator.build_request(**request.arguments(request.prompts[0], lambda: generator.tokenizer))
        )
        events = exchange.events(FACTS)
        told = [*events.begin(), *(event for piece in stream for event in events.of_piece(0, piece))]
        assert stream.result is not None
        told += events.end([stream.result])
        whole = exchange.answer([stream.result], FACTS)
        assert {**put_together(told), "id": ""} == {**whole, "id": ""}
        reasons.add((whole["stop_reason"], whole["content"][-1]["type"]))
    assert {("max_tokens", "tool_use"), ("tool_use", "tool_use"), ("max_tokens", "text")} <= reasons


def test_what_is_whole_of_an_input_is_what_clients_read() -> None:
    text = '{"a": "b\\"c,{", "d": [1, 2.5, [true], {"e": null}, -3e2], "f": {}, "g": "\\u00e9\\\\"}'
    for end in range(1, len(text) + 1):
        assert cut_input(text[:end]) == jiter.from_json(text[:end].encode(), partial_mode=True), text[:end]
    assert cut_input("") == {}


def test_blocks_become_messages() -> None:
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "user", "content": "there."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "I look.", "citations": None},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "a"}},
                {"type": "tool_use", "id": "c2", "name": "look", "input": {}, "caller": {"type": "direct"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "a cat"}]},
                {"type": "tool_result", "tool_use_id": "c2", "content": "dark", "is_error": True},
                {"type": "text", "text": "Well?"},
            ],
        },
    ]
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    prompt = prompt_of(messages=messages, system=system, tools=[TOOL])
    assert prompt["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "Look\n\nthere."},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "a"}}},
                {"id": "c2", "type": "function", "function": {"name": "look", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "a cat"},
        {"role": "tool", "tool_call_id": "c2", "name": "look", "content": "Error: dark"},
        {"role": "user", "content": "Well?"},
    ]
    assert prompt["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Look there.",
                "parameters": TOOL["input_schema"],
            },
        }
    ]


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    prompt = prompt_of(messages=[*ASK, {"role": "assistant", "content": "It is ("}])
    assert prompt["continue_final_message"] is True


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_choices(choice: dict[str, Any], expected: Any) -> None:
    assert prompt_of(tools=[TOOL], tool_choice=choice)["tool_choice"] == expected
    assert "parallel_tool_calls" not in prompt_of(tools=[TOOL], tool_choice=choice)


@pytest.mark.parametrize("kind", ["auto", "any"])
def test_an_answer_may_call_once_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, [CALL % "a" + CALL % "b"])
    choice = {"type": kind, "disable_parallel_tool_use": True}
    request = exchange_of(tools=[TOOL], tool_choice=choice).request
    arguments = request.arguments(request.prompts[0], lambda: generator.tokenizer)
    stream = generator.submit(generator.build_request(**arguments))
    assert list(stream)
    assert stream.result is not None
    assert len(stream.result.tool_calls) == 1


def test_options_by_anthropics_names_and_by_ours() -> None:
    request = exchange_of(
        stop_sequences=["x"],
        temperature=0.5,
        top_k=5,
        min_p=0.1,
        metadata={"user_id": "me"},
        service_tier="auto",
    ).request
    assert request.options == {
        "max_new_tokens": 200,
        "stop": ["x"],
        "temperature": 0.5,
        "top_k": 5,
        "min_p": 0.1,
    }
    form = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert exchange_of(output_config=form).request.options["response_format"]["type"] == "json_schema"
    error = exchange_of().request.in_its_words(OptionError("max_new_tokens is odd", option="max_new_tokens"))
    assert (str(error), error.option) == ("max_tokens is odd", "max_tokens")


def test_a_count_needs_no_limit() -> None:
    request = read_count_request({"model": "m", "messages": ASK, "thinking": {"type": "adaptive"}})
    assert (request.model, request.options) == ("m", {})
    with pytest.raises(BodyError, match='unknown field "max_tokens"'):
        read_count_request({"messages": ASK, "max_tokens": 5})


@pytest.mark.parametrize(
    ("fields", "message", "field"),
    [
        ({"max_tokens": None}, "max_tokens must be an integer, and is needed", "max_tokens"),
        ({"messages": []}, "messages must be a list", "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            r"messages\[0\]\.content\[0\]: .* not 'image': texts are all that is read",
            "messages",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c9"}]}]},
            'no tool_use before it has the id "c9"',
            "messages",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b"}]}]},
            'needs "input", an object',
            "messages",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}],
                    }
                ]
            },
            "results .* must follow",
            "messages",
        ),
        ({"system": [{"type": "text"}]}, r'system\[0\]: a block of the type text needs "text"', "system"),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            r"tools\[0\]: the type",
            "tools",
        ),
        ({"tools": [{"name": "look"}]}, 'needs an "input_schema"', "tools"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "defer_loading can only be False", "tools"),
        ({"tool_choice": "auto"}, "tool_choice must be an object", "tool_choice"),
        ({"tool_choice": {"type": "auto", "name": "look"}}, 'of the type auto has no "name"', "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens must be an integer", "thinking"),
        ({"thinking": {"type": "disabled", "budget_tokens": 5}}, "thinking must be of the type", "thinking"),
        ({"output_config": {"effort": "low"}}, 'effort can only be "high"', "output_config"),
        ({"service_tier": "flex"}, 'service_tier can only be "auto"', "service_tier"),
        ({"logprobs": True}, "an answer has no place for it", "logprobs"),
        ({"mcp_servers": []}, 'unknown field "mcp_servers"', "mcp_servers"),
        ({"stop_sequence": ["x"]}, 'Did you mean "stop_sequences"', "stop_sequence"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: dict[str, Any], message: str, field: str) -> None:
    with pytest.raises(BodyError, match=message) as caught:
        exchange_of(**fields)
    assert caught.value.option == field
