"""LangChain's ChatOpenAI: answers, streams, tools, answers as objects, embeddings."""

from __future__ import annotations

from typing import Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from tests.clients.conftest import QUESTION
from tests.server.conftest import Running


class City(BaseModel):
    """A city."""

    name: Literal["Bern", "Oslo"]
    is_large: bool


@tool
def weather(city: Literal["Bern", "Oslo"]) -> str:
    """Return the weather of a city."""
    return f"rain in {city}"


@pytest.fixture
def model(server: Running) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{server.url}/v1", api_key=SecretStr("none"), model="phi", temperature=0, max_retries=0
    )


def test_an_answer(model: ChatOpenAI, answer: str) -> None:
    found = model.invoke([SystemMessage("You are brief."), HumanMessage(QUESTION)], max_tokens=8)
    assert found.response_metadata["finish_reason"] == "length"
    assert found.usage_metadata is not None
    assert found.usage_metadata["output_tokens"] == 8
    assert model.invoke(QUESTION).content == answer


def test_a_stream(model: ChatOpenAI, answer: str) -> None:
    chunks = list(model.stream(QUESTION, stream_usage=True))
    assert "".join(str(chunk.content) for chunk in chunks) == answer
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 10


async def test_a_batch_that_runs_together(model: ChatOpenAI, answer: str) -> None:
    found = await model.abatch([QUESTION] * 4)
    assert [each.content for each in found] == [answer] * 4


def test_a_tool_and_its_result(model: ChatOpenAI) -> None:
    bound = model.bind_tools([weather], tool_choice="weather")
    asked = HumanMessage("How is the weather in Oslo?")
    said = bound.invoke([asked])
    assert isinstance(said, AIMessage)
    (call,) = said.tool_calls
    assert call["name"] == "weather"
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert result.content in ("rain in Bern", "rain in Oslo")
    assert model.bind_tools([weather]).invoke([asked, said, result], max_tokens=8).content


def test_a_tool_in_a_stream(model: ChatOpenAI) -> None:
    total = None
    for chunk in model.bind_tools([weather], tool_choice="weather").stream("How is the weather in Oslo?"):
        total = chunk if total is None else total + chunk  # type: ignore[operator]
    assert isinstance(total, AIMessage)
    (call,) = total.tool_calls
    assert call["args"]["city"] in ("Bern", "Oslo")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_answer_as_an_object(
    model: ChatOpenAI, method: Literal["json_schema", "function_calling"]
) -> None:
    found = model.with_structured_output(City, method=method).invoke("Describe Oslo.")
    assert isinstance(found, City)


def test_embeddings(server: Running) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=f"{server.url}/v1",
        api_key=SecretStr("none"),
        model="phi",
        check_embedding_ctx_length=False,  # else it sends OpenAI's own tokens
    )
    first, second = embeddings.embed_documents(["A graph", "A cache"])
    assert len(first) == len(second) > 0
    assert first != second
    assert embeddings.embed_query("A graph") == pytest.approx(first, abs=1e-5)
