"""Texts in the log: all of them where they are wanted, and otherwise none."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.server.conftest import Running, until
from tests.server.raw import connect, post

Serve = Callable[..., Running]
CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "ein Geheimnis, größer als zwei"}], "max_tokens": 4}
KEY = {"x-api-key": "key"}


def lines(caplog: pytest.LogCaptureFixture, number: int) -> list[dict[str, Any]]:
    """Return what was logged, as soon as there is so much."""
    until(lambda: len(caplog.records) >= number)
    assert len(caplog.records) == number
    return [json.loads(record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize("stream", [True, False])
def test_a_line_has_both_bodies_as_they_were_sent(
    serve: Serve, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    content = json.dumps({**BODY, "stream": stream}, ensure_ascii=False)
    server = serve(log_texts=True, api_keys=("alice: key",))
    with server.client as client, caplog.at_level(logging.INFO, "genai.server"):
        answer = client.post(CHAT, content=content.encode(), headers={**KEY, "x-request-id": "mine"})
        texts, request = lines(caplog, 2)
    assert (texts["request"], texts["answer"]) == (content, answer.text)
    assert {name: texts[name] for name in ("request_id", "client", "path")} == {
        "request_id": "mine",
        "client": "alice",
        "path": CHAT,
    }
    assert (request["request_id"], request["status"]) == ("mine", 200)
    assert "Geheimnis" not in json.dumps(request)


def test_a_refusal_is_an_answer_and_who_has_no_key_leaves_no_texts(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(log_texts=True, api_keys=("key",))
    with server.client as client, caplog.at_level(logging.INFO, "genai.server"):
        refused = client.post(CHAT, content=b"\xff{", headers=KEY)
        client.get("/v1/models", headers=KEY)
        client.post(CHAT, json=BODY)
        texts, *others = lines(caplog, 4)
    assert (texts["request"], texts["answer"]) == ("\ufffd{", refused.text)
    assert [other["status"] for other in others] == [400, 200, 401]
    assert not any("request" in other for other in others)


def test_of_an_answer_that_is_cut_it_has_the_beginning(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(log_texts=True)
    with caplog.at_level(logging.INFO, "genai.server"):
        with closing(connect(server)) as connection:
            connection.sendall(post(CHAT, {**BODY, "max_tokens": 1900, "ignore_eos": True, "stream": True}))
            received = b""
            while b"data: " not in received:
                received += connection.recv(1 << 16)
        texts, _ = lines(caplog, 2)
    assert texts["answer"].startswith("data: {")
    assert "[DONE]" not in texts["answer"]


def test_it_is_off_unless_it_is_asked_for(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with serve().client as client, caplog.at_level(logging.DEBUG):
        client.post(CHAT, json=BODY)
        until(lambda: CHAT in caplog.text)
    assert "Geheimnis" not in caplog.text
