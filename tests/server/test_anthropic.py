"""Anthropic's own client against the server: whole answers, streams, tools, counts, errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from genai import Generator
from tests.scripted import THINKING, make_scripted
from tests.server.conftest import Running

Serve = Callable[..., Running]
ClientOf = Callable[..., anthropic.Anthropic]
HELLO: list[Any] = [{"role": "user", "content": "Which tokens are there?"}]
KEY = "a-key"
GREEDY = {"temperature": 0}
"""What this client has no argument for, and older ones have."""
LOOK: Any = {
    "name": "look",
    "description": "Look there.",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
}
CALL = '<tool_call>{"name": "look", "arguments": {"at": "%s"}}</tool_call>'


@pytest.fixture
def client_of() -> Iterator[Callable[..., anthropic.Anthropic]]:
    """Make clients, which are closed with the test: `client_of(server, api_key=…)`."""
    with contextlib.ExitStack() as stack:

        def make(server: Running, **options: Any) -> anthropic.Anthropic:
            given = {"base_url": server.url, "api_key": "none", "max_retries": 0, **options}
            return stack.enter_context(anthropic.Anthropic(**given))

        yield make


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


def test_models_are_listed_in_pages(client: anthropic.Anthropic) -> None:
    listed = client.models.list()
    assert [(each.type, each.id, each.display_name) for each in listed.data] == [
        ("model", name, name) for name in ("demo", "other")
    ]
    assert all(each.created_at.tzinfo is not None for each in listed.data)
    assert (listed.has_more, listed.first_id, listed.last_id) == (False, "demo", "other")
    assert client.models.retrieve("other") == listed.data[1]
    first = client.models.list(limit=1)
    assert ([each.id for each in first.data], first.has_more) == (["demo"], True)
    assert [each.id for each in first] == ["demo", "other"]  # as the client turns pages
    assert [each.id for each in client.models.list(before_id="other")] == ["demo"]
    for wrong in (
        {"limit": 0},
        {"limit": 1001},
        {"after_id": "none"},
        {"after_id": "demo", "before_id": "demo"},
    ):
        with pytest.raises(anthropic.BadRequestError, match=list(wrong)[-1]):
            client.models.list(**wrong)


def test_a_conversation(client: anthropic.Anthropic, generator: Generator) -> None:
    answer = client.messages.create(
        model="demo",
        messages=HELLO,
        system="Be brief.",
        max_tokens=20,
        extra_body=GREEDY,
        metadata={"user_id": "x"},
    )
    expected = generator.chat(
        [{"role": "system", "content": "Be brief."}, *HELLO], max_new_tokens=20, temperature=0
    )
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == expected.text
    assert answer.stop_reason == {"length": "max_tokens", "stop": "end_turn"}[expected.finish_reason]
    assert answer.model == "demo"
    used = answer.usage
    assert used.input_tokens + (used.cache_read_input_tokens or 0) == len(expected.prompt_token_ids)
    assert used.output_tokens == len(expected.token_ids)


async def test_the_asynchronous_client_and_its_stream_say_the_same(server: Running) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 24, "extra_body": GREEDY}
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert text == whole.content[0].text  # type: ignore[union-attr]
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    assert final.usage.cache_read_input_tokens


def test_a_stop_sequence_is_named(client: anthropic.Anthropic, generator: Generator) -> None:
    text = generator.chat(HELLO, max_new_tokens=30, temperature=0).text
    stop = text[len(text) // 2 :][:3]
    answer = client.messages.create(
        model="demo", messages=HELLO, max_tokens=30, extra_body=GREEDY, stop_sequences=["never", stop]
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", stop)
    assert answer.content[0].text == text[: text.index(stop)]  # type: ignore[union-attr]


def test_an_answer_that_was_begun(client: anthropic.Anthropic, generator: Generator) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "There are"}]
    answer = client.messages.create(model="demo", messages=messages, max_tokens=8, extra_body=GREEDY)
    expected = generator.chat(messages, continue_final_message=True, max_new_tokens=8, temperature=0)
    assert answer.content[0].text == expected.text  # type: ignore[union-attr]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_tool_is_called_and_its_result_answered(
    serve: Serve, client_of: ClientOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_streamed: bool
) -> None:
    answers = [f"Hm.</think>I look.{CALL % 'a'}{CALL % 'b'}", "</think>A cat."]
    generator, model = make_scripted(tmp_path, monkeypatch, answers, template=THINKING)
    client = client_of(serve({"scripted": lambda: generator}))
    asked: dict[str, Any] = {"model": "scripted", "max_tokens": 300, "tools": [LOOK]}
    ask = client.messages.create
    if is_streamed:

        def ask(**fields: Any) -> Any:  # type: ignore[no-redef]
            with client.messages.stream(**fields) as stream:
                return stream.get_final_message()

    first = ask(messages=HELLO, tool_choice={"type": "auto"}, **asked)
    assert [block.type for block in first.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"at": "a"}, {"at": "b"}]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "a cat"} for call in calls]
    second = ask(
        messages=[
            *HELLO,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
        ],
        **asked,
    )
    assert [block.to_dict() for block in second.content] == [{"type": "text", "text": "A cat."}]
    assert model.prompts[-1].count("<|im_start|>tool\na cat<|im_end|>") == 2


def test_a_call_that_must_be(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(
        model="demo",
        messages=HELLO,
        max_tokens=200,
        tools=[LOOK],
        tool_choice={"type": "tool", "name": "look"},
    )
    if answer.stop_reason != "max_tokens":
        assert [(block.type, block.name) for block in answer.content if block.type == "tool_use"] == [
            ("tool_use", "look")
        ]


def test_thinking_has_a_budget(
    serve: Serve, client_of: ClientOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["one two three four five six seven eight", "Hm.</think>So."]
    generator, _ = make_scripted(
        tmp_path, monkeypatch, answers, template=THINKING, special_tokens=["<think>", "</think>"]
    )
    client = client_of(serve({"scripted": lambda: generator}))
    asked: dict[str, Any] = {"model": "scripted", "messages": HELLO, "max_tokens": 40}
    limited = client.messages.create(**asked, thinking={"type": "enabled", "budget_tokens": 3})
    assert limited.content[0].type == "thinking"
    assert len(generator.tokenize(limited.content[0].thinking)) <= 4
    without = client.messages.create(**asked, thinking={"type": "disabled"})
    assert all(block.type != "thinking" for block in without.content)


def test_a_count_is_what_an_answer_takes(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": HELLO, "tools": [LOOK], "system": "Be brief."}
    counted = client.messages.count_tokens(**asked).input_tokens
    used = client.messages.create(**asked, max_tokens=1).usage
    assert counted == used.input_tokens + (used.cache_read_input_tokens or 0)


def test_errors_are_the_clients_own(client: anthropic.Anthropic, client_of: ClientOf, serve: Serve) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 2}
    with pytest.raises(anthropic.BadRequestError, match="temperature must be") as refused:
        client.messages.create(**asked, extra_body={"temperature": -1})
    assert refused.value.type == "invalid_request_error"
    with pytest.raises(anthropic.NotFoundError, match='no model "claude"') as missing:
        client.messages.create(**{**asked, "model": "claude"})
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="claude", messages=HELLO)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens must be an integer >= 1"):
        client.messages.create(**{**asked, "max_tokens": 0})
    with pytest.raises(anthropic.BadRequestError, match="tokens, but the context holds"):
        client.messages.create(**{**asked, "messages": [{"role": "user", "content": "many words " * 4000}]})
    guarded = serve(api_keys=(KEY,), max_body_bytes=300)
    with pytest.raises(anthropic.AuthenticationError, match="key is not known") as stranger:
        client_of(guarded).messages.create(**asked)
    assert stranger.value.type == "authentication_error"
    assert client_of(guarded, api_key=KEY).messages.create(**asked).content
    with pytest.raises(anthropic.RequestTooLargeError):
        client_of(guarded, api_key=KEY).messages.create(**asked, system="x" * 300)
    foreign = httpx.post(f"{guarded.url}/v1/messages", json=asked, headers={"origin": "https://example.org"})
    assert (foreign.status_code, foreign.json()["error"]["type"]) == (403, "permission_error")


def test_a_busy_server_tells_it(client_of: ClientOf, serve: Serve) -> None:
    server = serve(max_requests=1)
    asked: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 1900}
    ignoring = {"ignore_eos": True}
    client = client_of(server)
    with client.messages.stream(**asked, extra_body=ignoring) as stream:
        next(iter(stream.text_stream))
        with pytest.raises(anthropic.RateLimitError):
            client.messages.create(**asked, extra_body=ignoring)
