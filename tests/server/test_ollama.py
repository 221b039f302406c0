"""Ollama's own client against the server: chats, generations, streams, tools, forms, models and vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import ollama
import pydantic
import pytest

from genai import Generator
from genai.server.state import ServerState
from tests.scripted import THINKING, make_scripted
from tests.server.conftest import Running, demo, until

Serve = Callable[..., Running]
ClientOf = Callable[..., ollama.Client]
HELLO: list[Any] = [{"role": "user", "content": "Which tokens are there?"}]
GREEDY: dict[str, Any] = {"temperature": 0, "num_predict": 16}


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[ollama.Client]:
    client = ollama.Client(host=server.url)
    with contextlib.closing(client._client):
        yield client


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """Make clients, which are closed with the test."""
    with contextlib.ExitStack() as stack:

        def make(server: Running, **options: Any) -> ollama.Client:
            client = ollama.Client(host=server.url, **options)
            stack.enter_context(contextlib.closing(client._client))
            return client

        yield make


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


def loaded(server: Running) -> set[str]:
    state: ServerState = server.app.state.server
    return set(state.models.loaded)


def test_a_chat_whole_and_in_lines(client: ollama.Client, generator: Generator) -> None:
    expected = generator.chat(HELLO, temperature=0, max_new_tokens=16)
    whole = client.chat("demo:latest", HELLO, options=GREEDY)
    assert whole.message.content == expected.text
    assert (whole.done, whole.done_reason) == (True, expected.finish_reason)
    assert whole.prompt_eval_count == len(expected.prompt_token_ids)
    assert whole.eval_count == len(expected.token_ids)
    assert whole.total_duration
    *parts, last = client.chat("demo", HELLO, options=GREEDY, stream=True)
    assert "".join(part.message.content or "" for part in parts) == expected.text
    assert (last.message.content, last.done_reason, last.eval_count) == (
        "",
        whole.done_reason,
        whole.eval_count,
    )


async def test_the_asynchronous_client(server: Running, generator: Generator) -> None:
    expected = generator.chat(HELLO, temperature=0, max_new_tokens=16)
    client = ollama.AsyncClient(host=server.url)
    try:
        whole = await client.chat("demo", HELLO, options=GREEDY)
        streamed = [part async for part in await client.chat("demo", HELLO, options=GREEDY, stream=True)]
    finally:
        await client._client.aclose()
    assert whole.message.content == expected.text
    assert "".join(part.message.content or "" for part in streamed) == expected.text


def test_a_prompt_as_a_message_and_raw(client: ollama.Client, generator: Generator) -> None:
    system = {"role": "system", "content": "Be brief."}
    expected = generator.chat([system, *HELLO], temperature=0, max_new_tokens=16)
    answer = client.generate("demo", HELLO[0]["content"], system="Be brief.", options=GREEDY)
    assert answer.response == expected.text
    raw = generator.generate("The graph", temperature=0, max_new_tokens=16)
    parts = client.generate("demo", "The graph", raw=True, options=GREEDY, stream=True)
    assert "".join(part.response or "" for part in parts) == raw.text


def test_log_probabilities(client: ollama.Client, generator: Generator) -> None:
    expected = generator.chat(HELLO, temperature=0, max_new_tokens=16, top_logprobs=2)
    answer = client.chat("demo", HELLO, options=GREEDY, logprobs=True, top_logprobs=2)
    assert answer.logprobs is not None
    assert expected.logprobs is not None
    np.testing.assert_allclose(
        [entry.logprob for entry in answer.logprobs],
        [entry.logprob for entry in expected.logprobs],
        atol=1e-4,
    )
    assert [len(entry.top_logprobs or ()) for entry in answer.logprobs] == [2] * len(expected.logprobs)


class Verdict(pydantic.BaseModel):
    """A form that an answer must have."""

    model_config = {"extra": "forbid"}
    ok: bool


def test_a_form(client: ollama.Client) -> None:
    options = {"num_predict": 60}
    answer = client.chat("demo", HELLO, format=Verdict.model_json_schema(), options=options)
    Verdict.model_validate_json(answer.message.content or "")
    anything = client.generate("demo", "Hi", format="json", options={"num_predict": 8, "temperature": 0})
    assert (anything.response or "").startswith("{")  # which the demo would not say by itself


def look(at: str) -> str:
    """Look there.

    Args:
        at: Where.
    """
    return at


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_tool_is_called_and_its_result_answered(
    serve: Serve, client_of: ClientOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_streamed: bool
) -> None:
    call = '<tool_call>{"name": "look", "arguments": {"at": "there"}}</tool_call>'
    generator, model = make_scripted(
        tmp_path, monkeypatch, [f"Hm.</think>I look.{call}", "</think>A cat."], template=THINKING
    )
    client = client_of(serve({"scripted": lambda: generator}))

    def ask(messages: list[Any]) -> ollama.Message:
        if not is_streamed:
            return client.chat("scripted", messages, tools=[look]).message
        said = ollama.Message(role="assistant", content="", thinking="", tool_calls=[])
        for part in client.chat("scripted", messages, tools=[look], stream=True):
            said.content = (said.content or "") + (part.message.content or "")
            said.thinking = (said.thinking or "") + (part.message.thinking or "")
            said.tool_calls = [*(said.tool_calls or ()), *(part.message.tool_calls or ())]
        return said

    first = ask(HELLO)
    assert (first.content, first.thinking) == ("I look.", "Hm.")
    assert first.tool_calls is not None
    assert [(each.function.name, each.function.arguments) for each in first.tool_calls] == [
        ("look", {"at": "there"})
    ]
    result = {"role": "tool", "content": look("a cat"), "tool_name": "look"}
    assert ask([*HELLO, first, result]).content == "A cat."
    assert "<|im_start|>tool\na cat<|im_end|>" in model.prompts[-1]


def test_models_and_what_is_told_of_them(client: ollama.Client, generator: Generator) -> None:
    client.chat("demo", HELLO, options=GREEDY)
    listed = {model.model: model for model in client.list().models}
    assert set(listed) == {"demo", "other"}
    (running,) = (model for model in client.ps().models if model.model == "demo")
    assert (running.context_length, running.size_vram) == (generator.context_length, 0)
    assert running.size
    assert running.expires_at is not None
    assert running.expires_at.year == 9999
    shown = client.show("demo:latest")
    assert shown.capabilities is not None
    assert {"completion", "tools", "embedding"} <= set(shown.capabilities)
    assert shown.details is not None
    family = shown.details.family
    assert family == generator.folder.decoder.model_type
    assert shown.modelinfo is not None
    assert shown.modelinfo[f"{family}.context_length"] == generator.folder.decoder.context_length
    assert generator.tokenizer.chat_template is not None
    assert shown.template == generator.tokenizer.chat_template.source
    with pytest.raises(ollama.ResponseError, match='no model "llama3"') as missing:
        client.show("llama3")
    assert missing.value.status_code == 404


def test_vectors(client: ollama.Client, generator: Generator, server: Running) -> None:
    texts = ["one", "two"]
    np.testing.assert_allclose(client.embed("demo", texts).embeddings, generator.embed(texts), atol=1e-5)
    old = client.embeddings("demo", "one").embedding
    np.testing.assert_allclose(old, generator.embed("one", normalize=False), atol=1e-4)
    assert client.embed("demo", []).embeddings == []  # the model is only loaded
    assert httpx.post(f"{server.url}/api/embeddings", json={"prompt": ""}).json() == {"embedding": []}
    long = "many words " * 4000
    assert client.embed("demo", long).prompt_eval_count <= generator.context_length  # type: ignore[operator]
    with pytest.raises(ollama.ResponseError, match="the context holds"):
        client.embed("demo", long, truncate=False)


def test_a_model_stays_as_long_as_a_request_wants(serve: Serve, client_of: ClientOf) -> None:
    server = serve({"demo": demo, "other": demo})
    client = client_of(server)
    assert client.generate("demo", keep_alive="1h").done_reason == "load"
    with pytest.raises(ollama.ResponseError, match="top_logprobs must be"):
        client.generate("demo", logprobs=True, top_logprobs=21)
    assert client.chat("other", HELLO, options={"num_predict": 1}, keep_alive=0).done
    until(lambda: loaded(server) == {"demo"})
    (running,) = client.ps().models
    assert running.expires_at is not None
    assert running.expires_at.year < 9999
    assert client.chat("demo", [], keep_alive=0).done_reason == "unload"
    assert loaded(server) == set()
    *_, last = client.generate("demo", keep_alive=0, stream=True)
    assert last.done_reason == "unload"
    assert loaded(server) == set()


def test_errors_are_texts(client: ollama.Client, server: Running, serve: Serve) -> None:
    for options, message in (
        ({"temperature": -1}, "temperature must be"),
        ({"num_predict": 0}, "options.num_predict must be"),
        ({"num_ctx": 10**6}, "options.num_ctx is 1000000, but the context holds"),
        ({"mirostat": 1}, "mirostat must be"),
    ):
        with pytest.raises(ollama.ResponseError, match=message) as refused:
            client.chat("demo", HELLO, options=options)
        assert refused.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="think: this model's chat template marks no reasoning"):
        client.chat("demo", HELLO, think=True)
    assert client.chat("demo", HELLO, think=False, options=GREEDY).done
    for ask, command in (
        (lambda: client.pull("phi"), "genai models pull"),
        (lambda: client.delete("demo"), "genai models remove"),
        (lambda: client.create("mine", from_="demo"), "genai export"),
        (lambda: client.copy("demo", "mine"), "genai serve NAME=MODEL"),
        (lambda: client.push("demo"), ": hf upload"),
    ):
        with pytest.raises(ollama.ResponseError, match=command):
            ask()
    assert httpx.head(server.url).status_code == 200
    assert httpx.get(f"{server.url}/api/version").json()["version"]
    guarded = serve(api_keys=("key",))
    for path in ("/api/chat", "/api/nothing"):
        refusal = httpx.post(f"{guarded.url}{path}", json={})
        assert (refusal.status_code, set(refusal.json())) == (401, {"error"})
