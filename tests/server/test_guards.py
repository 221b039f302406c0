"""Who may ask: keys, pages of other origins, sizes; and what a server says of itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from genai.errors import OptionError
from genai.server import ServerSettings
from tests.server.conftest import Running, until

Serve = Callable[..., Running]
BODY = {"messages": [{"role": "user", "content": "a secret"}], "max_tokens": 2}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client as client:
        yield client


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_keys(serve: Serve) -> None:
    with serve(api_keys=("first", "zweiter ü")).client as client:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic first"},
            {"x-api-key": "firs"},
        ):
            refused = client.get("/v1/models", headers=headers)
            assert refused.status_code == 401
            assert error_of(refused)["code"] == "invalid_api_key"
            assert refused.headers["www-authenticate"] == "Bearer"
        for headers in (
            {"authorization": "bearer first"},
            {"x-api-key": "first"},
            {"authorization": "Bearer zweiter ü".encode()},
        ):
            assert client.get("/v1/models", headers=headers).status_code == 200
        assert client.get("/health/live").status_code == 200
        assert client.get("/metrics").status_code == 401


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:8000"])
def test_names_of_this_machine(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example:8000"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},  # another port is another page
    ],
)
def test_pages_of_others_may_not_ask(client: httpx.Client, headers: dict[str, str]) -> None:
    refused = client.post(CHAT, json=BODY, headers=headers)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


def test_its_own_page_and_those_that_are_named_may(server: Running, serve: Serve) -> None:
    with server.client as client:
        assert client.get("/v1/models", headers={"origin": server.url}).status_code == 200
    named = "https://app.example"
    with serve(allowed_origins=(named,), api_keys=("key",)).client as client:
        asked = {"origin": named, "access-control-request-method": "POST"}
        preflight = client.options(CHAT, headers=asked)
        assert preflight.status_code == 200  # it comes without a key
        assert preflight.headers["access-control-allow-origin"] == named
        answer = client.get("/v1/models", headers={"origin": named, "x-api-key": "key"})
        assert answer.headers["access-control-allow-origin"] == named
        assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
        assert client.get("/v1/models", headers={"origin": "https://b.example"}).status_code == 403


def test_large_bodies_are_refused_unread(serve: Serve) -> None:
    with serve(max_body_bytes=1000).client as client:
        large = {**BODY, "messages": [{"role": "user", "content": "x" * 1000}]}
        assert client.post(CHAT, json=large).status_code == 413
        pieces = iter([json.dumps(large).encode()])  # chunked, without a length
        assert client.post(CHAT, content=pieces).status_code == 413
        assert client.post(CHAT, json=BODY).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'{"a": NaN}',
        b'{"a": -1e999}',
        b"[" * 100_000,
        b"\xff",
        b'{"n": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    refused = client.post(CHAT, content=body)
    assert refused.status_code == 400
    assert error_of(refused)["type"] == "invalid_request_error"


def test_a_number_that_is_an_integer_is_one(client: httpx.Client) -> None:
    body = b'{"prompt": "a", "max_tokens": 2.0, "ignore_eos": true, "temperature": 1.0}'
    assert client.post("/v1/completions", content=body).json()["usage"]["completion_tokens"] == 2
    refused = client.post("/v1/completions", content=b'{"prompt": "a", "max_tokens": 2.5}')
    assert (refused.status_code, error_of(refused)["param"]) == (400, "max_tokens")


def test_half_a_character_is_told_back(client: httpx.Client) -> None:
    refused = client.post(CHAT, content=rb'{"\ud800": 1, "messages": [{"role": "user", "content": "a"}]}')
    assert (refused.status_code, error_of(refused)["param"]) == (400, "\ud800")


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    told = error_of(client.get("/v1/nothing"))["message"]
    assert told == "GET /v1/nothing: Not Found; /openapi.json has the paths"
    assert "a slash too many" in error_of(client.get(f"{client.base_url}//v1/models"))["message"]
    assert client.get(CHAT).status_code == 405


def test_the_log_has_requests_and_no_texts(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "genai.server"):
        answer = client.post(CHAT, json=BODY, headers={"x-request-id": "mine"})
        until(lambda: bool(caplog.records))
    assert answer.headers["x-request-id"] == "mine"
    entry = json.loads(caplog.records[-1].message)
    assert (entry["request_id"], entry["path"], entry["status"]) == ("mine", CHAT, 200)
    assert "secret" not in caplog.text


def test_paths_that_people_try_first(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/v1/models/").json() == client.get("/v1/models").json()


def test_the_log_leaves_out_the_pages_files(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "genai.server"):
        for path in ("/", "/page/app.js", "/page/nothing.js"):
            client.get(path)
        client.get("/health")
        until(lambda: "/health" in caplog.text)
    assert [json.loads(each.message)["path"] for each in caplog.records] == ["/page/nothing.js", "/health"]


@pytest.mark.parametrize(
    "origin",
    ["example.org", "https://", "https://example.org/", "https://a b", "https://u@a.org", "", "null"],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(OptionError, match="SCHEME://HOST"):
        ServerSettings(allowed_origins=(origin,))
    ServerSettings(allowed_origins=("*", "http://[::1]:80", "https://a.org:8443", "chrome-extension://abc"))


def test_tokens_and_back(client: httpx.Client) -> None:
    found = client.post("/tokenize", json={"prompt": "The graph runs."}).json()
    assert found["count"] == len(found["tokens"])
    assert client.post("/detokenize", json={"tokens": found["tokens"]}).json() == {
        "prompt": "The graph runs."
    }
    chat = client.post("/tokenize", json={"messages": BODY["messages"]}).json()
    usage = client.post(CHAT, json=BODY).json()["usage"]
    assert chat["count"] == usage["prompt_tokens"]
    refused = client.post("/tokenize", json={"prompt": "a", "mesages": []})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "mesages")
    for token_id in (-1, 99_999_999, 10**30):
        refused = client.post("/detokenize", json={"tokens": [1, token_id]})
        assert (refused.status_code, error_of(refused)["param"]) == (400, "tokens")


def test_the_interface_is_described(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        CHAT,
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/tokenize",
        "/health/ready",
    } <= paths.keys()
