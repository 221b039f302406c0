"""OpenAI's own client asks for responses: whole, streamed, parsed, with tools, and wrongly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from genai import Generator
from tests.scripted import THINKING, make_scripted
from tests.server.conftest import Running

LOOK: Any = {
    "type": "function",
    "name": "look",
    "description": "Look at something.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
    "strict": False,
}
CALL = '<tool_call>{"name": "look", "arguments": {"at": "%s"}}</tool_call>'
ASKED: dict[str, Any] = {
    "model": "demo",
    "input": "Which tokens are there?",
    "max_output_tokens": 20,
    "temperature": 0,
}


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


def test_a_response(client: openai.OpenAI, generator: Generator) -> None:
    response = client.responses.create(
        **ASKED, instructions="Be brief.", metadata={"a": "b"}, include=["message.output_text.logprobs"]
    )
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which tokens are there?"},
    ]
    expected = generator.chat(messages, max_new_tokens=20, temperature=0)
    assert response.output_text == expected.text
    assert response.status == ("completed" if expected.finish_reason == "stop" else "incomplete")
    assert response.usage is not None
    assert response.usage.input_tokens == len(expected.prompt_token_ids)
    assert response.usage.output_tokens == len(expected.token_ids)
    assert (response.instructions, response.metadata, response.model) == ("Be brief.", {"a": "b"}, "demo")
    (message,) = response.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert len(part.logprobs) == len(expected.token_ids)
    assert response.model_dump(mode="json")["store"] is False


def test_the_body_is_what_the_client_declares(client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(**ASKED).http_response.json()
    openai.types.responses.Response.model_validate(raw, strict=False)


def test_a_response_that_has_no_room_is_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(**{**ASKED, "max_output_tokens": 2})
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_stream(client: openai.OpenAI) -> None:
    whole = client.responses.create(**ASKED)
    events = list(client.responses.create(**ASKED, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    for event in events:
        assert type(event).model_validate(event.to_dict()) == event
    with client.responses.stream(**ASKED) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response() if kinds[-1] == "response.completed" else None
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert final is None or final.output_text == whole.output_text


def test_asynchronously(server: Running, generator: Generator) -> None:
    async def ask() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            whole = await client.responses.create(**ASKED)
            text = ""
            async for event in await client.responses.create(**ASKED, stream=True):
                text += event.delta if event.type == "response.output_text.delta" else ""
            return whole.output_text, text

    expected = generator.chat([{"role": "user", "content": ASKED["input"]}], max_new_tokens=20, temperature=0)
    assert asyncio.run(ask()) == (expected.text, expected.text)


class Verdict(pydantic.BaseModel):
    """What a model is to say."""

    ok: bool


def test_a_form(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(**{**ASKED, "max_output_tokens": 40}, text_format=Verdict)
    assert isinstance(parsed.output_parsed, Verdict)
    with client.responses.stream(**{**ASKED, "max_output_tokens": 40}, text_format=Verdict) as stream:
        assert stream.get_final_response().output_parsed == parsed.output_parsed


def test_a_conversation_with_tools(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [f"I wonder.</think>I look.{CALL % 'a'}{CALL % 'b'}", "</think>Two walls."]
    generator, model = make_scripted(tmp_path, monkeypatch, answers, template=THINKING)
    server = serve({"scripted": lambda: generator})
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        asked: dict[str, Any] = {
            "model": "scripted",
            "tools": [LOOK],
            "include": ["reasoning.encrypted_content"],
        }
        said: list[Any] = [{"role": "user", "content": "What is there?"}]
        with client.responses.stream(**asked, input=said) as stream:
            for _ in stream:
                pass
            first = stream.get_final_response()
        assert [item.type for item in first.output] == [
            "reasoning",
            "message",
            "function_call",
            "function_call",
        ]
        calls = [item for item in first.output if item.type == "function_call"]
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [
            ("look", {"at": "a"}),
            ("look", {"at": "b"}),
        ]
        said += [item.to_dict() for item in first.output]
        for item in said:
            item.pop("parsed_arguments", None)  # which the client adds
            for part in item["content"] if isinstance(item.get("content"), list) else ():
                part.pop("parsed", None)
        said += [
            {"type": "function_call_output", "call_id": call.call_id, "output": "a wall"} for call in calls
        ]
        second = client.responses.create(**asked, input=said)
        assert second.output_text == "Two walls."
    assert model.prompts[1].count("a wall") == 2
    assert "I look." in model.prompts[1]


def test_a_call_in_a_stream_comes_in_pieces(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, _ = make_scripted(tmp_path, monkeypatch, [CALL % "a b c d e f g"])
    server = serve({"scripted": lambda: generator})
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        events = list(client.responses.create(model="scripted", input="?", tools=[LOOK], stream=True))
    kinds = [event.type for event in events]
    assert kinds.count("response.function_call_arguments.delta") > 3
    assert kinds[-1] == "response.completed"


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"previous_response_id": "resp_1"}, "Nothing is stored", "previous_response_id"),
        ({"store": True}, "store must be false", "store"),
        ({"background": True}, "background can only be false", "background"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "part with a text",
            "input[0].content[0]",
        ),
        ({"tools": [{"type": "web_search"}]}, "no built-in tools", "tools[0].type"),
        ({"tools": [{**LOOK, "parameters": {"type": 5, "required": 5}}]}, "required", "tools[0].parameters"),
        ({"reasoning": {"effort": "low"}}, "marks no reasoning", "reasoning.effort"),
        ({"max_output_tokens": 0}, "max_output_tokens must be", "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, 'must hold a "schema"', "text.format"),
        ({"tool_choice": "required"}, "needs tools", "tool_choice"),
        ({"model": "gpt-4"}, "no model", None),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], message: str, param: str | None
) -> None:
    with pytest.raises(openai.APIStatusError, match=message) as caught:
        client.responses.create(**{**ASKED, **fields})
    assert caught.value.status_code in (400, 404)
    assert caught.value.param == param
