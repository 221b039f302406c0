"""Which requests belong together: those of one conversation, whatever is said later."""

from __future__ import annotations

from typing import Any

import pytest

from genai.cluster.sessions import session_of
from genai.config import Message
from genai.wire import CHAT, CompletionRequest, read_body

SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "What is a cache?"}
LATER = [{"role": "assistant", "content": "A store."}, {"role": "user", "content": "Of what?"}]


def asked(**prompt: Any) -> CompletionRequest:
    return CompletionRequest("phi", [prompt], {})


def test_a_conversations_turns_belong_together() -> None:
    first = session_of(None, asked(messages=[SYSTEM, QUESTION]))
    assert first == session_of(None, asked(messages=[SYSTEM, QUESTION, *LATER]))
    for other in (
        asked(messages=[QUESTION]),
        asked(messages=[SYSTEM, LATER[1]]),
        CompletionRequest("qwen", [{"messages": [SYSTEM, QUESTION]}], {}),
    ):
        assert session_of(None, other) != first


def test_bodies_that_were_read_keep_their_beginning() -> None:
    turns = [[SYSTEM, QUESTION], [SYSTEM, QUESTION, *LATER]]
    first, second = (
        session_of(None, read_body(CHAT, {"model": "phi", "messages": messages}).request)
        for messages in turns
    )
    assert first == second
    messages = [Message("user", "What is a cache?"), Message("assistant", "A store.")]
    assert session_of(None, asked(messages=messages)) == session_of(None, asked(messages=messages[:1]))


@pytest.mark.parametrize(
    ("one", "other"),
    [({"prompt": "a" * 1024}, {"prompt": "a" * 2000}), ({"token_ids": [1] * 256}, {"token_ids": [1] * 300})],
)
def test_texts_that_begin_alike_belong_together(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert session_of(None, asked(**one)) == session_of(None, asked(**other))


def test_what_a_client_says_counts_and_nothing_is_no_session() -> None:
    assert session_of("mine", asked(prompt="a")) == session_of("mine", asked(prompt="b"))
    assert session_of("mine", None) != session_of("yours", None)
    assert session_of(None, None) == ""
    assert "cache" not in session_of(None, asked(messages=[QUESTION]))
