"""What a server says of itself holds: every answer, whole or streamed, good or bad, is one that it has described."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from genai.server import ServedModels, ServerSettings, make_app
from tests.server.api_cases import run_cases
from tests.server.conftest import Running, demo, running

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    """A server that answers in a few tokens, whatever is asked."""
    models = ServedModels({"demo": lambda: demo(max_context=64, max_batch=4)})
    with running(make_app(models, ServerSettings(max_body_bytes=100_000))) as server:
        yield server


@pytest.fixture(scope="module")
def document(small: Running) -> Any:
    with small.client as client:
        return client.get("/openapi.json").json()


def test_every_path_of_every_maker_is_there(document: Any) -> None:
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text("utf-8")
    told = {
        path.replace("{name:path}", "{name}")
        for path in re.findall(r"`(?:GET |POST )?(/(?:v1|api|health)/[\w/]+|/\w*tokenize|/metrics)`", page)
    }
    refused = {"/api/pull", "/api/create"}  # with 501, whatever is asked
    assert len(told) > 15
    assert told - refused <= document["paths"].keys()
    ollama = {"chat", "generate", "embed", "embeddings", "tags", "show", "ps", "version"}
    assert {path for path in document["paths"] if path.startswith("/api/")} == {
        f"/api/{name}" for name in ollama
    }


def test_every_path_says_what_it_takes_and_gives(document: Any) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            assert ("requestBody" in operation) == (method == "post"), path
            assert {"200", "403", "500"} <= operation["responses"].keys(), path
    for schema in schemas_of(document):
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [each["operationId"] for each in operations_of(document)]
    assert len(set(names)) == len(names)


def test_keys_are_told_where_they_are_asked_for(document: Any) -> None:
    assert "components" not in document
    with running(make_app(ServedModels({"demo": demo}), ServerSettings(api_keys=("k",)))) as server:
        keyed = httpx.get(f"{server.url}/openapi.json", headers={"x-api-key": "k"}).json()
    assert keyed["components"]["securitySchemes"].keys() == {"bearer", "key"}
    assert keyed["paths"][CHAT]["post"]["security"] == [{"bearer": []}, {"key": []}]
    assert "security" not in keyed["paths"]["/health/live"]["get"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"logprobs": True, "top_logprobs": 2, "n": 2, "temperature": 1}),
        (CHAT, {"stream_options": {"include_usage": True}}),
        (TEXT, {"logprobs": 2, "echo": False}),
        (TEXT, {"stream_options": {"include_usage": True}}),
    ],
)
def test_events_are_what_is_said(small: Running, document: Any, path: str, body: dict[str, Any]) -> None:
    prompt = {"messages": [{"role": "user", "content": "Hi"}]} if path == CHAT else {"prompt": "Hi"}
    content = document["paths"][path]["post"]["responses"]["200"]["content"]
    end, data = content["text/event-stream"]["itemSchema"]["properties"]["data"]["anyOf"]
    event = jsonschema.Draft202012Validator(data["contentSchema"])
    with small.client as client:
        answer = client.post(path, json={**prompt, "max_tokens": 4, **body, "stream": True})
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines.pop() == end["const"] == "[DONE]"
    for line in lines:
        event.validate(json.loads(line))


def test_cases_at_random(small: Running, document: Any) -> None:
    check(run_cases(small.url, document, num_cases=300, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_cases_at_random(small: Running, document: Any) -> None:
    found = check(run_cases(small.url, document, num_cases=11_200, seed=2))
    assert found.total() >= 10_000


def check(found: Counter[tuple[str, str, int]]) -> Counter[tuple[str, str, int]]:
    """See that every path that takes a body has taken some and refused some."""
    paths = {label for label, mode, _ in found if mode == "negative"}
    for path in paths:
        assert found[path, "positive", 200], path
        assert found[path, "negative", 400], path
    return found


def operations_of(document: Any) -> Iterator[Any]:
    for operations in document["paths"].values():
        yield from operations.values()


def schemas_of(document: Any) -> Iterator[Any]:
    for operation in operations_of(document):
        for described in (operation.get("requestBody", {"content": {}}), *operation["responses"].values()):
            for content in described["content"].values():
                yield content["schema"]
