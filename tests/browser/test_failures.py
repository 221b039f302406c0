"""What goes wrong is said in the conversation, in plain words, with a way on; nothing that was written is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from genai.server import ServedModels, ServerSettings, make_app
from tests.browser.conftest import Chat
from tests.browser.scripted_server import Answer, Refusal, Script, scripted_app, text
from tests.server.conftest import Running, demo, running

pytestmark = pytest.mark.browser


def test_a_busy_server_is_asked_again(scripted: Chat, script: Script) -> None:
    busy = Refusal(
        429, "9 requests run already: come back later", "rate_limit_exceeded", {"Retry-After": "7"}
    )
    script.then(busy, Answer([text("Now.")]))
    scripted.ask("Are you there?")
    failure = scripted.last.locator(".failure").inner_text()
    assert "The server is busy" in failure
    assert "come back later. Wait 7 s." in failure
    assert "The server is busy" in scripted.page.locator("#announcements").inner_text()
    scripted.page.get_by_role("button", name="Try again").click()
    scripted.page.get_by_text("Now.").wait_for()
    scripted.wait()
    assert scripted.page.locator(".failure, .branches").count() == 0
    assert script.bodies[1]["messages"] == script.bodies[0]["messages"]


def test_a_prompt_that_is_too_long(chat: Chat) -> None:
    chat.ask("cache " * 3000)
    failure = chat.last.locator(".failure").inner_text()
    assert "too long for the model" in failure
    assert "2,048" in failure or "2048" in failure
    assert chat.page.locator(".meter.is-nearly-full").inner_text().endswith(" of 2,048 tokens")


def test_a_connection_that_is_lost(scripted: Chat, script: Script) -> None:
    script.then(Answer([text("Half an")], then="cut"), Answer([text(" answer.")]))
    scripted.ask("Tell")
    assert "The connection was lost" in scripted.last.locator(".failure").inner_text()
    scripted.button("Continue").click()
    scripted.page.get_by_text("Half an answer.").wait_for()
    scripted.wait()
    assert scripted.page.locator(".failure").count() == 0


def test_a_failure_within_a_stream(scripted: Chat, script: Script) -> None:
    error = {"error": {"message": "the graph broke", "type": "server_error", "code": None, "param": None}}
    script.then(Answer([text("So"), error]))
    scripted.ask("Tell")
    assert scripted.last.locator(".message-text").inner_text() == "So"
    assert "The server failed\n\nthe graph broke." in scripted.last.locator(".failure").inner_text()


def test_a_server_that_is_gone(open_page: Callable[..., Chat], script: Script) -> None:
    with running(scripted_app(script)) as server:
        chat = open_page(server.url)
        script.then(Answer([text("Here.")]))
        chat.ask("Hello")
    chat.ask("Still there?")
    assert "The server does not answer" in chat.last.locator(".failure").inner_text()
    assert chat.page.get_by_text("Still there?").first.is_visible()
    assert chat.button("Try again").is_visible()


@pytest.fixture
def keyed() -> Iterator[Running]:
    """The real server, which wants a key."""
    settings = ServerSettings(api_keys=("right",))
    with running(make_app(ServedModels({"demo": demo}), settings)) as server:
        yield server


def enter_key(chat: Chat, key: str) -> None:
    chat.page.get_by_label("Key", exact=True).fill(key)
    chat.page.get_by_role("button", name="Use this key").click()


def test_a_key_is_asked_for_and_forgotten(open_page: Callable[..., Chat], keyed: Running) -> None:
    chat = open_page(keyed.url, waits=False)
    enter_key(chat, "wrong")
    chat.page.get_by_text("this key is not known here").wait_for()
    enter_key(chat, "right")
    chat.page.locator("#model:enabled").wait_for()
    chat.ask("What is a KV cache?")
    assert chat.last.locator(".facts").is_visible()
    assert "right" not in chat.page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    chat.page.reload()
    chat.page.get_by_label("Key", exact=True).wait_for()
    chat.page.get_by_role("button", name="Not now").click()
    chat.ask("And now?")
    chat.page.get_by_label("Key", exact=True).fill("right")
    chat.page.get_by_label("Keep it in this browser").check()
    chat.page.get_by_role("button", name="Use this key").click()
    chat.page.locator(".failure").wait_for(state="detached")
    chat.wait()
    assert chat.answers.count() == 2
    chat.page.reload()
    chat.page.locator("#model:enabled").wait_for()
    assert not chat.page.get_by_label("Key", exact=True).is_visible()
