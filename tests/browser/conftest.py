"""One browser for all tests, a page of its own for each, and what every page is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from genai.server import ServedModels, ServerSettings, make_app
from tests.browser.chromium import find_chromium
from tests.browser.scripted_server import Script, scripted_app
from tests.server.conftest import Running, demo, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request

SECONDS = 60
NO_TRAFFIC = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
ANSWERED = "body:has(#draft:placeholder-shown):not(:has(.is-coming, #send.is-stop)):has(.from-assistant .message-foot > *)"
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


@dataclass
class Chat:
    """The page as a person uses it."""

    page: Page
    url: str
    requests: list[Request] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def answers(self) -> Locator:
        return self.page.locator(".from-assistant")

    @property
    def last(self) -> Locator:
        return self.page.locator(".message").last

    @property
    def draft(self) -> Locator:
        return self.page.get_by_label("Message", exact=True)

    @property
    def sidebar(self) -> Locator:
        return self.page.get_by_role("navigation", name="Conversations")

    @property
    def titles(self) -> list[str]:
        return self.sidebar.locator(".open-title").all_inner_texts()

    def open(self, *, waits: bool = True) -> Chat:
        """Open the page, and wait until it knows the models."""
        self.page.goto(self.url)
        if waits:
            self.page.locator("#model:enabled").wait_for()
        return self

    def ask(self, text: str) -> None:
        """Ask something, and wait until the answer, or what went wrong, is there."""
        self.draft.fill(text)
        self.draft.press("Enter")
        self.wait()

    def wait(self) -> None:
        """Wait until no answer is coming, and what came is drawn."""
        self.page.locator(ANSWERED).wait_for()
        self.page.evaluate("new Promise((resolve) => requestAnimationFrame(resolve))")

    def button(self, name: str) -> Locator:
        return self.last.get_by_role("button", name=name)

    def bodies(self) -> list[dict[str, Any]]:
        """Return what answers were asked for with."""
        asked = [request for request in self.requests if request.url.endswith("/v1/chat/completions")]
        return [request.post_data_json for request in asked]

    def set(self, **settings: str) -> None:
        """Type settings into the sheet."""
        self.page.locator("#open-settings").click()
        for name, value in settings.items():
            self.page.locator(f"#setting-{name}").fill(value)
        self.page.keyboard.press("Escape")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.program,
            args=["--no-sandbox", *NO_TRAFFIC],
            env=dict(chromium.environment) or None,
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """The real server, with the demo model under two names."""
    with running(make_app(ServedModels({"demo": demo, "other": demo}), ServerSettings())) as server:
        yield server


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Chat]]:
    """Open pages, `open_page(url, **options of the context)`, which may ask nobody else, fail, or break their policy."""
    opened: list[Chat] = []

    def open_one(url: str, *, beside: Chat | None = None, waits: bool = True, **options: Any) -> Chat:
        context = beside.page.context if beside else browser.new_context(**options)
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        chat = Chat(page, url)
        page.add_init_script(WATCH)
        page.on("request", lambda request: chat.requests.append(request))
        page.on("pageerror", lambda error: chat.problems.append(str(error)))
        page.on("console", lambda message: _note(chat, message))
        opened.append(chat)
        return chat.open(waits=waits)

    yield open_one
    for chat in opened:
        others = [request.url for request in chat.requests if not request.url.startswith((chat.url, "blob:"))]
        violations = chat.page.evaluate("window.violations")
        chat.page.close()
        assert (others, violations, chat.problems) == ([], [], [])


def _note(chat: Chat, message: ConsoleMessage) -> None:
    is_refusal = "Failed to load resource" in message.text  # a status that a test has asked for
    if message.type in {"error", "warning"} and not is_refusal:
        chat.problems.append(message.text)


@pytest.fixture
def chat(open_page: Callable[..., Chat], server: Running) -> Chat:
    """The page of the real server."""
    return open_page(server.url)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def scripted(open_page: Callable[..., Chat], script: Script) -> Iterator[Chat]:
    """The page of a server that answers as `script` says."""
    with running(scripted_app(script)) as server:
        yield open_page(server.url)
        assert not script.turns, "an answer that nobody asked for"
