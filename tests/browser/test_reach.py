"""Who can use the page: by keyboard, by what reads it out, on a phone, in the dark."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted_server import (
    Answer,
    Refusal,
    Script,
    calling,
    scripted_app,
    text,
    thinking,
    token,
)
from tests.fetched import pip_packages
from tests.server.conftest import running

pytestmark = pytest.mark.browser
AXE = "axe-playwright-python==0.1.8"
"""Has axe-core 4.12 (https://github.com/dequelabs/axe-core) as a file."""
LONG = "Verylongwordwithoutanyspace" * 12
RICH = f"""# Title

Some `code`, a [link](https://a.example), {LONG}

> A quote.

```python
def f(argument: str = "{"x" * 90}") -> int:  # a comment
    return 1 + len(argument)
```

| {"| ".join(f"column {n} " for n in range(9))}|
|{"--|" * 9}
| {"| ".join(f"value {n} " for n in range(9))}|

- [ ] To do
"""


@pytest.fixture(scope="session")
def axe() -> str:
    return (pip_packages(AXE) / "axe_playwright_python" / "axe.min.js").read_text("utf-8")


@pytest.fixture
def rich(scripted: Chat, script: Script) -> Chat:
    """A conversation that has everything in it."""
    tokens = [
        token(" likely", 0.95),
        token(" less", 0.7),
        token(" hm", 0.4),
        token(" oh", 0.2),
        token(" no", 0.1),
    ]
    tokens.append(token(" never", 0.01, (" sure", 0.8)))
    script.then(
        Answer([thinking("I think."), text(RICH)]),
        Answer([text("Cut")], then="cut"),
        Answer(tokens),
        Answer([text("Calling"), calling("f", '{"a": 1}')], finish_reason="tool_calls"),
        Refusal(429, "busy", headers={"Retry-After": "3"}),
    )
    for question in ("Everything", f"Now {LONG}", "Tokens", "Call"):
        scripted.ask(question)
    scripted.page.locator(".reasoning summary").click()
    scripted.answers.nth(2).get_by_role("button", name="Show token probabilities").click()
    scripted.ask("Busy?")
    scripted.page.locator(".token").nth(5).hover()
    return scripted


def serious_findings(chat: Chat, axe: str) -> list[str]:
    chat.page.evaluate(axe)
    chat.page.evaluate(
        "Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {})))"
    )
    found = chat.page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node.get('any', [{}])[:1]}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_for_axe_to_find(
    scheme: str, axe: str, rich: Chat, open_page: Callable[..., Chat], script: Script
) -> None:
    rich.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    found = serious_findings(rich, axe)
    rich.page.locator("#scroller").evaluate("each => { each.scrollTop = 0; }")
    found += serious_findings(rich, axe)
    rich.page.locator("#open-settings").click()
    rich.page.locator("#setting-temperature").fill("9")
    found += serious_findings(rich, axe)
    rich.page.keyboard.press("Escape")
    rich.page.get_by_role("button", name="Keys and help").click()
    found += serious_findings(rich, axe)
    rich.page.keyboard.press("Escape")
    rich.page.get_by_role("button", name="New conversation").click()
    rich.page.locator("#empty").wait_for()
    found += serious_findings(rich, axe)
    rich.page.set_viewport_size({"width": 390, "height": 800})
    rich.page.get_by_role("button", name="Conversations", exact=True).click()
    rich.page.evaluate("document.getElementById('key-dialog').showModal()")
    assert found + serious_findings(rich, axe) == []


@pytest.mark.parametrize("width", [320, 390, 700])
def test_a_narrow_window_has_nothing_beside_it(rich: Chat, width: int) -> None:
    rich.page.set_viewport_size({"width": width, "height": 700})
    widest = "Math.max(document.documentElement.scrollWidth, document.getElementById('scroller').scrollWidth)"
    for act in (
        "1",
        "document.getElementById('open-settings').click()",
        "document.getElementById('open-help').click()",
    ):
        rich.page.evaluate(act)
        rich.page.evaluate("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
        assert rich.page.evaluate(widest) <= width
        rich.page.evaluate("document.querySelectorAll('dialog').forEach((each) => each.close())")


def test_the_drawer_of_a_phone(open_page: Callable[..., Chat], script: Script) -> None:
    with running(scripted_app(script)) as server:
        phone = open_page(server.url, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
        script.then(Answer([text("Yes.")]))
        phone.draft.fill("Hello")
        phone.draft.press("Enter")  # breaks the line there
        assert phone.draft.input_value() == "Hello\n"
        phone.page.get_by_role("button", name="Send").tap()
        phone.page.get_by_text("Yes.").wait_for()
        phone.wait()
        assert (
            phone.button("Copy answer").evaluate("each => getComputedStyle(each.parentElement).opacity")
            == "1"
        )
        assert not phone.sidebar.is_visible()
        phone.page.get_by_role("button", name="Conversations", exact=True).tap()
        phone.sidebar.get_by_role("button", name="Delete").wait_for()
        phone.page.wait_for_timeout(300)
        phone.page.mouse.click(380, 400)
        phone.sidebar.wait_for(state="hidden")
        sizes = phone.page.evaluate(
            "Array.from(document.querySelectorAll('input, textarea, select'), (each) => parseFloat(getComputedStyle(each).fontSize))"
        )
        assert min(sizes) >= 16
        widest = phone.page.evaluate("document.documentElement.scrollWidth")
        assert widest <= 390


def test_keys(scripted: Chat, script: Script) -> None:
    keyboard = scripted.page.keyboard
    focused = "document.activeElement.id"
    assert scripted.page.evaluate(focused) == "draft"
    scripted.draft.type("one")
    keyboard.press("Shift+Enter")
    scripted.draft.type("two")
    assert scripted.draft.input_value() == "one\ntwo"
    script.then(Answer([text("slow")], then="wait"))
    keyboard.press("Enter")
    scripted.page.get_by_text("slow").wait_for()
    keyboard.press("Escape")
    scripted.wait()
    assert script.bodies[0]["messages"][0]["content"] == "one\ntwo"
    keyboard.press("Control+k")
    assert scripted.page.evaluate(focused) == "search"
    keyboard.press("Control+Shift+O")
    assert scripted.page.evaluate(focused) == "draft"
    scripted.page.locator("#empty").wait_for()
    keyboard.type("why?")
    assert scripted.draft.input_value() == "why?"
    scripted.page.locator("#open-settings").focus()
    keyboard.press("?")
    scripted.page.get_by_role("heading", name="Keys").wait_for()
    keyboard.press("Escape")
    assert scripted.page.evaluate(focused) == "open-settings"


def test_the_tab_key_goes_round(rich: Chat) -> None:
    rich.draft.focus()
    seen = []
    for _ in range(80):
        rich.page.keyboard.press("Tab")
        seen.append(rich.page.evaluate("document.activeElement.outerHTML.slice(0, 300)"))
    assert any('id="new-conversation"' in each for each in seen)
    assert any('class="token ' in each for each in seen)
    assert any('id="draft"' in each for each in seen), "the way back was not found"


def test_colours_are_chosen(chat: Chat) -> None:
    chat.page.emulate_media(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = chat.page.evaluate(ground)
    button = chat.page.locator("#theme")
    button.click()
    assert chat.page.evaluate(ground) == light
    button.click()
    assert "dark" in (button.get_attribute("aria-label") or "")
    dark = chat.page.evaluate(ground)
    assert dark != light
    chat.page.reload()
    assert chat.page.evaluate(ground) == dark
    button.click()
    assert chat.page.evaluate(ground) == light
    chat.page.emulate_media(color_scheme="dark")
    assert chat.page.evaluate(ground) == dark


def test_reduced_motion(scripted: Chat, script: Script) -> None:
    scripted.page.emulate_media(reduced_motion="reduce")
    script.then(Answer([], then="wait"))
    scripted.draft.fill("Wait")
    scripted.draft.press("Enter")
    scripted.page.locator(".waiting").wait_for()
    assert scripted.page.evaluate("document.getAnimations().length") == 0
    scripted.page.keyboard.press("Escape")
