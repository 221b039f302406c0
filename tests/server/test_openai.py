"""OpenAI's own client against the server: whole answers, streams, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest

from genai import Generator
from tests.server.conftest import Running

HELLO: list[Any] = [{"role": "user", "content": "Which tokens are there?"}]


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo", "other"]
    assert client.models.retrieve("demo").owned_by == "genai"
    with pytest.raises(openai.NotFoundError, match='no model "gpt-4" here; there are: demo, other'):
        client.models.retrieve("gpt-4")


def test_a_conversation(client: openai.OpenAI, generator: Generator) -> None:
    answer = client.chat.completions.create(
        model="demo",
        messages=HELLO,
        max_completion_tokens=20,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
        n=1,
    )
    expected = generator.chat(HELLO, max_new_tokens=20, temperature=0, logprobs=True, top_logprobs=2)
    (choice,) = answer.choices
    assert choice.message.content == expected.text
    assert choice.finish_reason == expected.finish_reason
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert expected.logprobs is not None
    found = [entry.logprob for entry in choice.logprobs.content]
    np.testing.assert_allclose(found, [entry.logprob for entry in expected.logprobs], atol=1e-4)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(expected.prompt_token_ids)
    assert answer.usage.completion_tokens == len(expected.token_ids)


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_says_what_the_whole_answer_would(client: openai.OpenAI, n: int) -> None:
    asked: dict[str, Any] = {
        "model": "demo",
        "messages": HELLO,
        "max_tokens": 24,
        "temperature": 0.8,
        "seed": 7,
        "n": n,
        "logprobs": True,
    }
    whole = client.chat.completions.create(**asked)
    texts, reasons, logprobs = [""] * n, [""] * n, [list[float]() for _ in range(n)]
    usages = []
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
            if choice.logprobs is not None:
                logprobs[choice.index] += [entry.logprob for entry in choice.logprobs.content or ()]
    for choice in whole.choices:
        assert texts[choice.index] == choice.message.content
        assert reasons[choice.index] == choice.finish_reason
        assert len(logprobs[choice.index]) == len(choice.logprobs.content)  # type: ignore[union-attr,arg-type]
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1].completion_tokens == whole.usage.completion_tokens  # type: ignore[union-attr]


def test_texts(client: openai.OpenAI, generator: Generator) -> None:
    prompts = ["Hello", "The graph"]
    asked: dict[str, Any] = {
        "model": "demo",
        "prompt": prompts,
        "max_tokens": 8,
        "temperature": 0,
        "logprobs": 1,
    }
    whole = client.completions.create(**asked)
    expected = generator.generate(prompts, max_new_tokens=8, temperature=0)
    assert [choice.text for choice in whole.choices] == [result.text for result in expected]
    texts, offsets = [""] * 2, [list[int]() for _ in prompts]
    for chunk in client.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.logprobs is not None:
                offsets[choice.index] += choice.logprobs.text_offset or ()
    assert texts == [choice.text for choice in whole.choices]
    assert offsets == [choice.logprobs.text_offset for choice in whole.choices]  # type: ignore[union-attr]


def test_a_form(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="demo",
        messages=HELLO,
        max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    assert set(json.loads(answer.choices[0].message.content or "")) == {"ok"}


def test_vectors(client: openai.OpenAI, generator: Generator) -> None:
    texts = ["one", "two"]
    as_numbers = client.embeddings.create(model="demo", input=texts, encoding_format="float")
    by_default = client.embeddings.create(model="demo", input=texts)  # base64, which the client reads
    np.testing.assert_allclose(
        [each.embedding for each in as_numbers.data], generator.embed(texts), atol=1e-5
    )
    np.testing.assert_allclose(
        [each.embedding for each in by_default.data], generator.embed(texts), atol=1e-5
    )
    rows = [generator.tokenize(text) for text in texts]
    for tokens, expected in ((rows, generator.embed(texts)), (rows[0], generator.embed(texts[:1]))):
        of_tokens = client.embeddings.create(model="demo", input=tokens)
        np.testing.assert_allclose([each.embedding for each in of_tokens.data], expected, atol=1e-5)
        assert of_tokens.usage == openai.types.create_embedding_response.Usage(
            prompt_tokens=sum(map(len, rows[: len(expected)])),
            total_tokens=sum(map(len, rows[: len(expected)])),
        )
    assert as_numbers.usage.prompt_tokens == sum(len(generator.tokenize(text)) for text in texts)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"dimensions": 8}, "dimensions"),
        ({"input": []}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": ["a", [1]]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [10**9]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": ""}, "input"),
        ({"input": [1] * 5000}, "input"),
        ({"extra_body": {"encoding_format": "int8"}}, "encoding_format"),
    ],
)
def test_what_is_no_vector_is_refused_by_name(
    client: openai.OpenAI, options: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(**{"model": "demo", "input": "a", **options})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("options", "message", "param"),
    [
        ({"temperature": -1}, "temperature must be", "temperature"),
        ({"max_tokens": 0}, " - max_tokens must be an integer", "max_tokens"),
        ({"n": 2, "temperature": 0}, " - n > 1 needs sampling", "n"),
        ({"response_format": {"type": "regex", "regex": "["}}, "regex", "response_format"),
        ({"extra_body": {"tool_choice": "required"}}, "needs tools", "tool_choice"),
        (
            {"extra_body": {"temprature": 1}},
            'unknown field "temprature".*Did you mean "temperature"',
            "temprature",
        ),
        ({"messages": []}, "messages must be a list", "messages"),
        ({"messages": [{"role": "user", "content": "a" * 20_000}]}, "the context holds", "messages"),
        (
            {"messages": [{"role": "bogus", "content": "a"}]},
            'unknown role "bogus"; there are: sys',
            "messages",
        ),
        ({"verbosity": "low"}, 'verbosity can only be "medium"', "verbosity"),
        ({"functions": []}, "given as tools here", "functions"),
        ({"top_logprobs": 2}, "needs logprobs", "top_logprobs"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"required": 5}}}]},
            "required",
            "tools[0].function.parameters",
        ),
        ({"reasoning_effort": "low"}, "marks no reasoning", "reasoning_effort"),
        ({"extra_body": {"priority": 1.5}}, "priority must be an integer", "priority"),
        ({"stream_options": {"include_usage": True}}, "stream_options needs stream", "stream_options"),
        ({"stream": True, "extra_body": {"stream_options": {"all": 1}}}, "stream_options", "stream_options"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    client: openai.OpenAI, options: dict[str, Any], message: str, param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.chat.completions.create(**{"model": "demo", "messages": HELLO, "max_tokens": 2, **options})
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_a_prompt_that_is_too_long_has_its_code_and_both_numbers(
    client: openai.OpenAI, generator: Generator
) -> None:
    with pytest.raises(
        openai.BadRequestError, match=rf"5\d\d\d tokens, but the context holds {generator.context_length}"
    ) as caught:
        client.completions.create(
            model="demo", prompt=[1] * 5000 if generator.context_length < 5000 else [], max_tokens=1
        )
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")


def test_an_empty_prompt_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="the prompt is empty") as caught:
        client.completions.create(model="demo", prompt="", max_tokens=1)
    assert caught.value.param == "prompt"
