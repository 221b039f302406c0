"""Tokens of an answer: how likely each was, and what else it might have been."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted_server import Answer, Script, thinking, token
from tests.server.conftest import Running

pytestmark = pytest.mark.browser
TOKENS = (
    token("The", 0.99, ("A", 0.005)),
    token(" cat", 0.3, (" dog", 0.6), (" <b>ox</b>", 0.05), ("<|end|>", 0.01)),
    token(" sat", 0.02, (" ran", 0.9)),
    token("\n", 0.7, (".", 0.2)),
)


def show_tokens(chat: Chat) -> None:
    chat.button("Show token probabilities").click()
    chat.last.locator(".token").first.wait_for()


def test_each_token_has_its_colour_and_its_card(scripted: Chat, script: Script) -> None:
    script.then(Answer(TOKENS))
    scripted.ask("?")
    assert (script.bodies[0]["logprobs"], script.bodies[0]["top_logprobs"]) == (True, 5)
    show_tokens(scripted)
    tokens = scripted.last.locator(".token")
    assert tokens.all_inner_texts() == ["The", " cat", " sat", "↵\n"]
    shades = [each.get_attribute("class").split()[1] for each in tokens.all()]
    assert shades == ["shade-0", "shade-3", "shade-5", "shade-1"]
    assert "4 tokens, 50 % likely on average" in scripted.last.inner_text()
    card = scripted.last.locator(".token-card")
    tokens.nth(1).hover()
    lines = [line.replace("\n", " ") for line in card.locator("li").all_inner_texts()]
    assert lines == ["␣dog 60.0 %", "␣cat 30.0 %", "␣<b>ox</b> 5.0 %", "<|end|> 1.0 %"]
    assert card.locator(".is-taken").inner_text().startswith("␣cat")
    assert "all others 4.0 %" in card.inner_text()
    assert card.get_by_role("button").count() == 2  # neither what was taken nor a mark
    scripted.draft.hover()
    card.wait_for(state="hidden")
    scripted.button("Show token probabilities").click()
    assert scripted.last.locator(".message-text").inner_text() == "The cat sat"


def test_tokens_by_keyboard(scripted: Chat, script: Script) -> None:
    script.then(Answer(TOKENS), Answer([token(" barks", 0.8)]))
    scripted.ask("?")
    show_tokens(scripted)
    keyboard, focused = scripted.page.keyboard, scripted.page.locator(":focus")
    scripted.last.locator(".token").first.focus()
    keyboard.press("ArrowRight")
    assert focused.get_attribute("aria-label") == "cat, 30.0 %"
    card = scripted.last.locator(".token-card")
    assert focused.get_attribute("aria-describedby") == card.get_attribute("id")
    keyboard.press("Escape")
    assert not card.is_visible()
    keyboard.press("ArrowRight")
    keyboard.press("ArrowLeft")
    keyboard.press("Enter")
    assert focused.get_attribute("aria-label") == "Answer again from here with dog, 60.0 %"
    keyboard.press("Enter")
    scripted.wait()
    assert scripted.last.locator(".token").all_inner_texts() == ["The", " dog", " barks"]
    scripted.draft.hover()  # a card under the mouse would lie over the button
    scripted.button("Show token probabilities").click()
    assert scripted.last.locator(".message-text").inner_text() == "The dog barks"
    assert script.bodies[1]["messages"][-1] == {"role": "assistant", "content": "The dog"}
    assert script.bodies[1]["continue_final_message"] is True
    assert "2 / 2" in scripted.last.locator(".branches").inner_text()
    scripted.page.reload()
    show_tokens(scripted)
    assert scripted.last.locator(".token").all_inner_texts() == ["The", " dog", " barks"]


def test_tokens_by_touch(scripted: Chat, script: Script) -> None:
    script.then(Answer(TOKENS))
    scripted.page.set_viewport_size({"width": 390, "height": 800})
    scripted.ask("?")
    show_tokens(scripted)
    scripted.last.locator(".token").nth(2).dispatch_event("pointerover", {"pointerType": "touch"})
    card = scripted.last.locator(".token-card")
    assert not card.is_visible()
    scripted.last.locator(".token").nth(2).click()
    card.wait_for()
    box = card.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_the_model_goes_on_from_another_token(chat: Chat) -> None:
    chat.set(temperature="0", max_tokens="12")
    chat.ask("What is a KV cache?")
    before = chat.last.locator(".message-text").inner_text()
    show_tokens(chat)
    token_text = chat.last.locator(".token").nth(2).inner_text()
    chat.last.locator(".token").nth(2).click()
    other = chat.last.locator(".token-card button").first
    taken = other.locator(".token-text").inner_text().replace("␣", " ")
    other.click()
    chat.page.get_by_text("2 / 2").wait_for()
    chat.wait()
    chat.draft.hover()
    chat.button("Show token probabilities").click()
    after = chat.last.locator(".message-text").inner_text()
    beginning = before[: before.index(token_text)]
    assert after.startswith(beginning + taken)
    assert len(after) > len(beginning + taken)
    assert chat.last.locator(".failure").count() == 0


def test_without_probabilities_none_are_asked_for(scripted: Chat, script: Script) -> None:
    script.then(Answer([token("Yes", 0.9)]), Answer([thinking("Hm"), *TOKENS]))
    scripted.page.locator("#open-settings").click()
    scripted.page.get_by_label("Ask for token probabilities").uncheck()
    scripted.page.keyboard.press("Escape")
    scripted.ask("?")
    assert not {"logprobs", "top_logprobs"} & script.bodies[0].keys()
    scripted.ask("Behind reasoning there are no other beginnings")
    show_tokens(scripted)
    scripted.last.locator(".token").nth(1).hover()
    assert scripted.last.locator(".token-card button").count() == 0


def test_the_card_shows_what_the_server_says(chat: Chat, server: Running) -> None:
    chat.ask("What is a KV cache?")
    with server.client as client:
        asked = {name: value for name, value in chat.bodies()[0].items() if not name.startswith("stream")}
        choice = client.post("/v1/chat/completions", json=asked).json()["choices"][0]
    show_tokens(chat)
    content = choice["logprobs"]["content"]
    assert chat.last.locator(".token").count() == len(content)
    chat.last.locator(".token").nth(4).hover()
    shown = [
        text.replace("␣", " ") for text in chat.last.locator(".token-card .token-text").all_inner_texts()
    ]
    assert shown == [entry["token"] for entry in content[4]["top_logprobs"]]
