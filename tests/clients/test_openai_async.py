"""OpenAI's own client, asynchronous: streams side by side, calls of tools, answers as objects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Literal

import openai
import pytest
from openai.types.chat import (
    ChatCompletionMessageParam,
    ChatCompletionNamedToolChoiceParam,
    ChatCompletionToolParam,
)
from pydantic import BaseModel

from tests.clients.conftest import QUESTION, WEATHER
from tests.server.conftest import Running

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
TOOLS: list[ChatCompletionToolParam] = [{"type": "function", "function": WEATHER}]  # type: ignore[typeddict-item]

CHOICE: ChatCompletionNamedToolChoiceParam = {"type": "function", "function": {"name": "weather"}}


class City(BaseModel):
    name: Literal["Bern", "Oslo"]
    is_large: bool


@pytest.fixture
async def client(server: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_streams_side_by_side(client: openai.AsyncOpenAI, answer: str) -> None:
    async def read() -> str:
        text = ""
        stream = await client.chat.completions.create(model="phi", messages=ASKED, temperature=0, stream=True)
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
        return text

    assert await asyncio.gather(*(read() for _ in range(6))) == [answer] * 6


async def test_a_stream_helper_gathers_events(client: openai.AsyncOpenAI, answer: str) -> None:
    async with client.chat.completions.stream(model="phi", messages=ASKED, temperature=0) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == answer


async def test_a_stream_that_is_closed_leaves_the_client_usable(
    client: openai.AsyncOpenAI, answer: str
) -> None:
    stream = await client.chat.completions.create(
        model="phi", messages=ASKED, max_tokens=1000, stream=True, extra_body={"ignore_eos": True}
    )
    await anext(stream)
    await stream.close()
    found = await client.chat.completions.create(model="phi", messages=ASKED, temperature=0)
    assert found.choices[0].message.content == answer


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_and_its_result(client: openai.AsyncOpenAI, stream: bool) -> None:
    asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How is the weather in Oslo?"}]
    if stream:
        async with client.chat.completions.stream(
            model="phi", messages=asked, tools=TOOLS, tool_choice=CHOICE, temperature=0, max_tokens=200
        ) as events:
            completion = await events.get_final_completion()
    else:
        completion = await client.chat.completions.create(  # type: ignore[assignment]
            model="phi", messages=asked, tools=TOOLS, tool_choice=CHOICE, temperature=0, max_tokens=200
        )
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Bern", "Oslo")
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    said = choice.message.model_dump(exclude_none=True)
    after = await client.chat.completions.create(
        model="phi", messages=[*asked, said, result], tools=TOOLS, max_tokens=8
    )
    assert after.choices[0].message.content


async def test_an_answer_as_an_object(client: openai.AsyncOpenAI) -> None:
    found = await client.chat.completions.parse(
        model="phi", messages=ASKED, response_format=City, max_tokens=60
    )
    assert isinstance(found.choices[0].message.parsed, City)


async def test_errors_are_the_clients_own(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model"):
        await client.chat.completions.create(model="none", messages=ASKED)
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="phi", messages=ASKED, temperature=-1)
    assert caught.value.param == "temperature"
