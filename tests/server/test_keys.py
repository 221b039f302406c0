"""Keys with names: who is meant by a line of a key file, and that one who asks for much does not keep others waiting."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from genai.errors import OptionError
from genai.server import ServerSettings
from genai.server.keys import ApiKey
from tests.server.conftest import Running, demo, until

Serve = Callable[..., Running]
CHAT = "/v1/chat/completions"
KEYS = ("many: m-key", "many: m-other", "one: o-key", "plain")
MANY, MANY_TOO, ONE = ({"x-api-key": key} for key in ("m-key", "m-other", "o-key"))


def body(num_new: int, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Go on."}]
    return {"messages": messages, "max_tokens": num_new, "ignore_eos": True, **options}


@pytest.mark.parametrize(
    ("line", "client", "secret"),
    [
        ("alice: s3cret", "alice", "s3cret"),
        (" team-a@x.org:\tab:cd ef ", "team-a@x.org", "ab:cd ef"),
        ("s3cret", "key-1ec1c26b", "s3cret"),
        ("sk:1234", None, "sk:1234"),
        ("not a name: s3cret", None, "not a name: s3cret"),
    ],
)
def test_a_line_is_a_key_with_or_without_a_name(line: str, client: str | None, secret: str) -> None:
    key = ApiKey.read(line)
    assert key.secret == secret
    assert key.client.startswith("key-") if client is None else key.client == client
    assert secret not in repr(key)


def test_a_name_without_a_key_is_refused() -> None:
    with pytest.raises(OptionError, match=r'"alice:" is a name without a key'):
        ServerSettings(api_keys=("one", "alice: "))


def test_the_log_names_whose_key_it_was(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with serve(api_keys=KEYS).client as client, caplog.at_level(logging.INFO, "genai.server"):
        for headers in (MANY, MANY_TOO, {"x-api-key": "plain"}, {"x-api-key": "wrong"}, {}):
            client.get("/v1/models", headers=headers)
        until(lambda: len(caplog.records) == 5)
    logged = [json.loads(record.message)["client"] for record in caplog.records]
    assert logged == ["many", "many", ApiKey.read("plain").client, None, None]
    assert not [secret for secret in ("m-key", "m-other", "plain", "wrong") if secret in caplog.text]


def test_without_keys_nobody_has_a_name(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with serve().client as client, caplog.at_level(logging.INFO, "genai.server"):
        client.get("/v1/models", headers=ONE)
        until(lambda: bool(caplog.records))
    assert json.loads(caplog.records[-1].message)["client"] is None


def test_one_key_cannot_take_all_places(serve: Serve) -> None:
    server = serve(api_keys=KEYS, max_requests_per_key=1)
    state = server.app.state.server
    with server.client as client:
        with client.stream("POST", CHAT, json=body(1900, stream=True), headers=MANY) as answer:
            lines = answer.iter_lines()
            next(lines)
            for path, asked in ((CHAT, body(1)), ("/v1/embeddings", {"input": "a"})):
                refused = client.post(path, json=asked, headers=MANY_TOO)  # the same client's
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                assert refused.json()["error"]["code"] == "key_limit_exceeded"
            refused = client.post("/api/embed", json={"input": "a"}, headers=MANY)
            assert refused.status_code == 429
            assert client.post(CHAT, json=body(1), headers=ONE).status_code == 200
            assert state.num_requests_of == {"many": 1}
        until(lambda: not state.num_requests_of)
        assert client.post(CHAT, json=body(1), headers=MANY).status_code == 200
    assert state.num_requests == 0


def test_many_requests_of_one_key_do_not_keep_another_waiting(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_many, submitted, answered = 12, [], []
    generator = demo(max_batch=1)
    engine, gate = generator._runner.loaded.engines.engines[0], threading.Event()
    submit, advance = generator.asubmit, engine.advance
    monkeypatch.setattr(generator, "asubmit", lambda request: submitted.append(request) or submit(request))
    monkeypatch.setattr(
        engine, "advance", lambda: gate.wait(60) and advance()
    )  # nothing runs until all are there
    server = serve({"demo": lambda: generator}, api_keys=KEYS)

    def ask(headers: Mapping[str, str]) -> None:
        response = httpx.post(f"{server.url}{CHAT}", json=body(20), headers=headers, timeout=60)
        assert response.status_code == 200
        answered.append(headers["x-api-key"])

    asked = [MANY] * num_many + [ONE]
    threads = [threading.Thread(target=ask, args=(headers,)) for headers in asked]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        until(lambda number=number: len(submitted) == number)  # type: ignore[misc]
    gate.set()
    for thread in threads:
        thread.join()
    assert [each.client for each in submitted] == ["many"] * num_many + ["one"]
    assert len(answered) == len(asked)
    assert answered.index("o-key") <= 3  # of the others the first may run, and answers cross on their way
