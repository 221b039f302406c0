"""Ollama's chats and generations: bodies as requests, and a stream's lines, put together, as the whole answer."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import genai
from genai.engine import GenerationResult
from genai.errors import GenerationError
from genai.folder import ModelFolder
from genai.wire import (
    AnswerFacts,
    BodyError,
    CompletionRequest,
    Event,
    ModelFacts,
    read_body,
    read_show_request,
)
from genai.wire.ollama.durations import date, read_keep_alive
from tests.scripted import THINKING, make_scripted

CHAT, GENERATE = "/api/chat", "/api/generate"
ASK = [{"role": "user", "content": "?"}]
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}
CALL = '<tool_call>{"name": "look", "arguments": {"at": "%s"}}</tool_call>'
ANSWERS = [
    "plain words",
    "hm</think>so",
    f"hm</think>I look.{CALL % 'a'}{CALL % 'b'}",
    f"{CALL % 'a'[:-20]} is damaged",
]


def chat_of(**fields: Any) -> CompletionRequest:
    return read_body(CHAT, {"model": "m", "messages": ASK, **fields}).request


def generate_of(**fields: Any) -> CompletionRequest:
    return read_body(GENERATE, {"model": "m", "prompt": "Hi", **fields}).request


def put_together(lines: Iterable[Event]) -> dict[str, Any]:
    """Join what lines say, as clients do."""
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    for line in lines:
        whole |= line
        for name, value in line["message"].items():
            message[name] = value if name == "role" else message.get(name, type(value)()) + value
    return {**whole, "message": message}


@pytest.mark.parametrize("answer", ANSWERS)
def test_lines_are_the_whole_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, [answer], template=THINKING)
    facts = AnswerFacts("m", 1, lambda: generator.tokenizer, load_seconds=0.5, clock=lambda: 1)
    exchange = read_body(CHAT, {"messages": ASK, "tools": [TOOL], "options": {"num_predict": 200}})
    assert exchange.request.stream
    request = exchange.request
    stream = generator.submit(
        generator.build_request(**request.arguments(request.prompts[0], lambda: generator.tokenizer))
    )
    events = exchange.events(facts)
    lines = [*events.begin(), *(line for piece in stream for line in events.of_piece(0, piece))]
    result = stream.result
    assert isinstance(result, GenerationResult)
    lines += events.end([result])
    whole = exchange.answer([result], facts)
    assert put_together(lines) == whole
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert whole["done_reason"] == result.finish_reason
    assert whole["load_duration"] == 500_000_000
    assert whole["total_duration"] == pytest.approx(
        whole["load_duration"] + whole["prompt_eval_duration"] + whole["eval_duration"], abs=10
    )
    for call in whole["message"].get("tool_calls", ()):
        assert isinstance(call["function"]["arguments"], dict)


def test_a_call_that_is_cut_off_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, [ANSWERS[2]], template=THINKING)
    facts = AnswerFacts("m", 1, lambda: generator.tokenizer, clock=lambda: 1)
    counts = set()
    for limit in range(1, 120, 3):
        exchange = read_body(CHAT, {"messages": ASK, "tools": [TOOL], "options": {"num_predict": limit}})
        request = exchange.request
        stream = generator.submit(
            generator.build_request(**request.arguments(request.prompts[0], lambda: generator.tokenizer))
        )
        events = exchange.events(facts)
        lines = [line for piece in stream for line in events.of_piece(0, piece)]
        assert stream.result is not None
        whole = exchange.answer([stream.result], facts)
        assert put_together([*lines, *events.end([stream.result])]) == whole
        counts.add((whole["done_reason"], len(whole["message"].get("tool_calls", ()))))
    assert {("length", 0), ("length", 1), ("stop", 2)} <= counts


def test_each_line_says_when_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, ["plain words"], template=THINKING)
    clock = itertools.count(2)
    facts = AnswerFacts("m", 1, lambda: generator.tokenizer, clock=lambda: next(clock))
    exchange = read_body(GENERATE, {"prompt": "Hi", "raw": True})
    stream = generator.submit(generator.build_request(**exchange.request.prompts[0]))
    events = exchange.events(facts)
    lines = [line for piece in stream for line in events.of_piece(0, piece)]
    assert stream.result is not None
    lines += events.end([stream.result])
    assert len(lines) > 2
    assert [line["created_at"] for line in lines] == [date(2 + index) for index in range(len(lines))]


def test_an_error_is_the_last_line() -> None:
    facts = AnswerFacts("m", 1, lambda: pytest.fail("nobody asked for tokens"))
    events = read_body(CHAT, {"messages": ASK}).events(facts)
    assert list(events.fail(GenerationError("no luck"))) == [{"error": "no luck"}]


def test_options_by_ollamas_names_and_by_ours() -> None:
    options = {
        "num_predict": 5,
        "num_ctx": 512,
        "repeat_penalty": 1.1,
        "repeat_last_n": 64,
        "seed": 3,
        "temperature": 0.5,
        "stop": ["x"],
        "min_p": 0.1,
        "no_repeat_ngram_size": 2,
        "tfs_z": 1.0,
    }
    request = chat_of(options=options, format="json", think="low", keep_alive="5m", stream=False)
    assert request.options == {
        "max_new_tokens": 5,
        "repetition_penalty": 1.1,
        "repetition_last_n": 64,
        "seed": 3,
        "temperature": 0.5,
        "stop": ["x"],
        "min_p": 0.1,
        "no_repeat_ngram_size": 2,
        "response_format": "json",
    }
    assert (request.num_context, request.keep_alive, request.stream) == (512, 300, False)
    assert request.thinking is not None
    assert request.thinking.wanted == "low"
    unlimited = chat_of(options={"num_predict": -1, "seed": -1}, format="", think=None)
    assert (unlimited.options, unlimited.thinking) == ({"max_new_tokens": None}, None)
    assert chat_of(format={"type": "object"}).options["response_format"]["type"] == "json_schema"
    assert chat_of(truncate=True).options == {"context_policy": "truncate_turns"}


def test_calls_get_ids_and_results_name_them() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": {"at": "a"}}}

    messages = [
        *ASK,
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call("look"), call("hear")]},
        {"role": "tool", "content": "a bell", "tool_name": "hear"},
        {"role": "tool", "content": "a cat"},
    ]
    (prompt,) = chat_of(messages=messages).prompts
    told = prompt["messages"]
    assert [each["id"] for each in told[1]["tool_calls"]] == ["call00000", "call00001"]
    assert told[1]["thinking"] == "Hm."
    assert told[2:] == [
        {"role": "tool", "content": "a bell", "name": "hear", "tool_call_id": "call00001"},
        {"role": "tool", "content": "a cat", "name": "look", "tool_call_id": "call00000"},
    ]


def test_prompts_are_messages_unless_they_are_raw() -> None:
    (prompt,) = generate_of(system="Be brief.", template="", context=[], images=[]).prompts
    assert prompt == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    }
    assert generate_of(raw=True).prompts == [{"prompt": "Hi"}]


@pytest.mark.parametrize("path", [CHAT, GENERATE])
@pytest.mark.parametrize(("keep_alive", "reason"), [(None, "load"), (0, "unload")])
def test_without_a_prompt_a_model_is_only_loaded_or_let_go(path: str, keep_alive: Any, reason: str) -> None:
    exchange = read_body(path, {"model": "m", "keep_alive": keep_alive})
    assert exchange.request.prompts == []
    facts = AnswerFacts("m", 1, lambda: pytest.fail("nobody asked for tokens"), clock=lambda: 1)
    answer = exchange.answer([], facts)
    assert (answer["done"], answer["done_reason"]) == (True, reason)
    assert list(exchange.events(facts).end([])) == [answer]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5),
        (2.5, 2.5),
        ("90", 90),
        ("10ms", 0.01),
        ("1h2m3s", 3723),
        (-1, math.inf),
        ("-1", math.inf),
        (None, None),
    ],
)
def test_how_long_a_model_stays(value: Any, seconds: float | None) -> None:
    assert read_keep_alive(value) == seconds


@pytest.mark.parametrize("value", [True, "", "5 minutes", "1x", [5], float("nan"), "5m" * 100, "m"])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(BodyError, match="keep_alive must be seconds"):
        read_keep_alive(value)


@pytest.mark.parametrize(
    ("path", "fields", "message", "field"),
    [
        (CHAT, {"messages": "Hi"}, "messages must be a list", "messages"),
        (
            CHAT,
            {"messages": [{**ASK[0], "images": ["aGk="]}]},
            r"messages\[0\]: images are not read",
            "messages",
        ),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [{"name": "look"}]}]},
            r"messages\[0\]: a call needs a function",
            "messages",
        ),
        (CHAT, {"messages": [{"role": "bogus", "content": "a"}]}, 'unknown role "bogus"', "messages"),
        (CHAT, {"options": {"num_gpu": 1}}, "num_gpu says how a model is loaded", "num_gpu"),
        (CHAT, {"options": {"tfs_z": 0.5}}, "there is no tfs_z here, which can only be 1", "tfs_z"),
        (CHAT, {"options": {"logprobs": True}}, "an answer has no place", "logprobs"),
        (CHAT, {"options": {"temprature": 1}}, 'Did you mean "temperature"', "temprature"),
        (CHAT, {"options": {"seed": -7}}, "seed must be at least 0", "seed"),
        (CHAT, {"options": {"num_ctx": 0}}, "num_ctx must be at least 1", "num_ctx"),
        (CHAT, {"think": "much"}, "think must be true, false", "think"),
        (CHAT, {"format": "xml"}, 'format must be "json" or a JSON schema', "format"),
        (CHAT, {"top_logprobs": 3}, "needs logprobs", "top_logprobs"),
        (CHAT, {"prompt": "Hi"}, 'unknown field "prompt"', "prompt"),
        (GENERATE, {"suffix": "x"}, "suffix must be left out", "suffix"),
        (GENERATE, {"template": "{{ .Prompt }}"}, "template must be left out", "template"),
        (GENERATE, {"context": [1, 2]}, "context must be left out: .*/api/chat", "context"),
        (GENERATE, {"raw": True, "system": "x"}, "system must be left out where", "system"),
        (GENERATE, {"raw": True, "think": True}, "think must be left out where", "think"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    path: str, fields: dict[str, Any], message: str, field: str
) -> None:
    with pytest.raises(BodyError, match=message) as caught:
        read_body(path, {"model": "m", **fields})
    assert caught.value.option == field


def test_which_model_is_shown() -> None:
    assert read_show_request({"model": "m", "verbose": False}) == "m"
    assert read_show_request({"name": "m"}) == "m"
    for body, field in (
        ([], "body"),
        ({}, "model"),
        ({"model": 5}, "model"),
        ({"model": "m", "verbose": True}, "verbose"),
        ({"model": "m", "system": "Be brief."}, "system"),
    ):
        with pytest.raises(BodyError) as caught:
            read_show_request(body)
        assert caught.value.option == field


def test_what_weights_were_kept_as_is_told() -> None:
    folder = ModelFolder.load(Path(genai.__file__).parent / "demo_model")
    assert folder.manifest is not None
    assert ModelFacts("demo", folder).details["quantization_level"] == folder.manifest.precision
    notes = {"quantized_weights": {"carried_over": {"gguf-q8_0": 1, "gguf-q4_1": 210}, "decoded": {}}}
    kept = dataclasses.replace(folder.manifest, precision="keep", exporter_notes=notes)
    details = ModelFacts("demo", dataclasses.replace(folder, manifest=kept)).details
    assert details["quantization_level"] == "Q4_1"
