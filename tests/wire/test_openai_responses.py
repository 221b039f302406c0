"""Response bodies hold all that was asked for: log-probabilities of prompts, and where tokens stand in the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from genai import Generator
from genai.engine import GenerationResult, GenerationStats, Piece
from genai.wire import AnswerFacts, read_body

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


def answer(generator: Generator, endpoint: str, **body: Any) -> dict[str, Any]:
    exchange = read_body(endpoint, {"max_tokens": 6, **body})
    request = exchange.request
    results = []
    for prompt in request.prompts:
        stream = generator.submit(generator.build_request(**prompt, **request.options))
        list(stream)
        assert stream.result is not None
        results.append(stream.result)
    return exchange.answer(results, AnswerFacts("demo", 0, lambda: generator.tokenizer))


@pytest.mark.parametrize("prompt", ["What is int4?", "naïve 🙂 text"])
def test_an_echoed_prompt_is_scored(generator: Generator, prompt: str) -> None:
    (choice,) = answer(generator, TEXT, prompt=prompt, echo=True, logprobs=2)["choices"]
    scores = generator.generate(prompt, max_new_tokens=6, prompt_logprobs=2, top_logprobs=2)
    assert scores.prompt_logprobs is not None
    assert scores.logprobs is not None
    logprobs = choice["logprobs"]
    ids = [*scores.prompt_token_ids, *scores.token_ids]
    assert choice["text"] == prompt + scores.text
    assert "prompt_logprobs" not in choice  # nobody asked for them by this name
    assert len(logprobs["tokens"]) == len(ids) == len(logprobs["text_offset"])
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    entries = [*scores.prompt_logprobs[1:], *scores.logprobs]
    assert logprobs["token_logprobs"][1:] == pytest.approx([e.logprob for e in entries if e], abs=1e-4)
    for index, offset in enumerate(logprobs["text_offset"]):
        before = generator.tokenizer.decode(ids[:index]).rstrip("\ufffd")
        assert choice["text"][:offset] == before


def test_offsets_without_echo_begin_at_the_answer(generator: Generator) -> None:
    (choice,) = answer(generator, TEXT, prompt="What is int4?", logprobs=0)["choices"]
    assert choice["logprobs"]["text_offset"][0] == 0
    assert "prompt_logprobs" not in choice


def test_log_probabilities_of_the_prompt_alone(generator: Generator) -> None:
    (choice,) = answer(generator, TEXT, prompt="What is int4?", prompt_logprobs=2)["choices"]
    expected = generator.generate("What is int4?", max_new_tokens=1, prompt_logprobs=2)
    assert expected.prompt_logprobs is not None
    first, *others = choice["prompt_logprobs"]
    assert first is None
    for shown, entry in zip(others, expected.prompt_logprobs[1:], strict=True):
        assert entry is not None
        assert shown[str(entry.token_id)]["logprob"] == pytest.approx(entry.logprob, abs=1e-4)
        ranks = [shown[str(token_id)]["rank"] for token_id, _ in entry.top_logprobs]
        assert ranks == [1, 2]
        assert shown[str(entry.token_id)]["decoded_token"] == generator.tokenizer.decode([entry.token_id])
    body = answer(generator, CHAT, messages=[{"role": "user", "content": "Hello"}], prompt_logprobs=0)
    assert len(body["prompt_logprobs"]) == body["usage"]["prompt_tokens"]


def test_several_answers_to_a_scored_prompt(generator: Generator) -> None:
    choices = answer(
        generator, TEXT, prompt=["Hello", "Bye"], echo=True, logprobs=0, n=2, temperature=1, seed=1
    )["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    firsts = [choice["logprobs"]["tokens"][0] for choice in choices]
    assert firsts[0] == firsts[1] != firsts[2] == firsts[3]


@pytest.mark.parametrize("echo", [True, False])
def test_a_prompt_is_scored_without_generating(generator: Generator, echo: bool) -> None:
    asked: dict[str, Any] = {"prompt": ["What is int4?", "naïve"], "logprobs": 1, "echo": echo}
    body = answer(generator, TEXT, **asked, max_tokens=0)
    longer = answer(generator, TEXT, **asked, max_tokens=1)
    for choice, more in zip(body["choices"], longer["choices"], strict=True):
        prompt = asked["prompt"][choice["index"]]
        assert choice["text"] == (prompt if echo else "")
        assert more["text"].startswith(choice["text"])
        assert choice["finish_reason"] == "length"
        assert choice["logprobs"]["tokens"] == more["logprobs"]["tokens"][:-1]
        assert choice["logprobs"]["token_logprobs"] == more["logprobs"]["token_logprobs"][:-1]
    assert body["usage"]["completion_tokens"] == 0
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"]


def test_reasoning_may_be_left_out() -> None:
    thought = GenerationResult("so", (1,), (2,), "stop", GenerationStats(1, 0, 1, 0, 0, 0), reasoning="hm")
    facts = AnswerFacts("m", 1, lambda: pytest.fail("no token is shown"))
    for fields, told in (
        ({}, "hm"),
        ({"include_reasoning": False}, None),
        ({"reasoning": {"exclude": True}}, None),
    ):
        exchange = read_body(CHAT, {"messages": [{"role": "user", "content": "?"}], **fields})
        (choice,) = exchange.answer([thought], facts)["choices"]
        assert choice["message"].get("reasoning") == told
        chunks = list(exchange.events(facts).of_piece(0, Piece("so", (1,), "stop", reasoning="hm")))
        found = [chunk["choices"][0]["delta"].get("reasoning") for chunk in chunks]
        assert [each for each in found if each] == ([] if told is None else ["hm"])
