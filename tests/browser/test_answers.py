"""Questions and answers: how they come, stop, go on, branch, and what they are asked with."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted_server import Answer, Script, calling, text, thinking
from tests.server.conftest import Running

pytestmark = pytest.mark.browser
QUESTION = "What is a KV cache?"


def test_an_answer_comes_and_is_kept(chat: Chat, server: Running) -> None:
    chat.ask(QUESTION)
    body = chat.bodies()[0]
    assert body["model"] == "demo"
    assert body["messages"] == [{"role": "user", "content": QUESTION}]
    assert not {"temperature", "top_p", "max_tokens", "seed", "chat_template_kwargs"} & body.keys()
    with server.client as client:
        plain = client.post(
            "/v1/chat/completions", json={"model": "demo", "messages": body["messages"]}
        ).json()
    shown = chat.last.locator(".message-text")
    assert shown.inner_text() == plain["choices"][0]["message"]["content"]
    facts = chat.last.locator(".facts").inner_text()
    assert re.search(r"demo\s+\d+ tokens\s.*first after", facts, re.DOTALL), facts
    assert chat.page.locator("#announcements").inner_text() == "Answer complete"
    used = plain["usage"]["total_tokens"]
    chat.page.locator("#meter").wait_for()
    count, limit = re.findall(r"[\d,]+", chat.page.locator("#meter").inner_text())
    assert abs(int(count) - used) < 8
    assert limit == "2,048"
    before = shown.inner_text()
    chat.page.reload()
    shown.wait_for()
    assert (shown.inner_text(), chat.titles) == (before, [QUESTION])


def test_the_draft_counts_before_it_is_sent(scripted: Chat) -> None:
    scripted.draft.fill("one two three")
    scripted.page.get_by_text("3 of 1,000 tokens").wait_for()


def test_markdown_and_code(scripted: Chat, script: Script) -> None:
    pieces = [
        "# A ti",
        "tle\n\nSome **bold** `code` &amp; [a link](https://a.example/x).\n\n```py",
        "thon\ndef f():\n    ret",
    ]
    pieces += ["urn 1\n```\n\n| a | b |\n|--|-:|\n| 1 | 2 |\n\n1. one\n   - inner\n2. two\n\n- [x] done\n"]
    script.then(Answer([text(piece) for piece in pieces]))
    scripted.ask("?")
    assert "first after" in scripted.last.locator(".facts").inner_text()
    shown = scripted.last.locator(".markdown")
    assert shown.locator("h2").inner_text() == "A title"
    assert shown.locator("p").first.inner_text() == "Some bold code & a link."
    assert shown.locator("a").get_attribute("rel") == "noopener noreferrer"
    assert shown.locator(".code pre").inner_text() == "def f():\n    return 1"
    assert shown.locator(".code .hl-keyword").all_inner_texts() == ["def", "return"]
    assert shown.locator("td").all_inner_texts() == ["1", "2"]
    assert shown.locator("ol > li > ul > li").all_inner_texts() == ["inner"]
    assert shown.get_by_role("checkbox", name="Done").is_checked()
    scripted.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.get_by_role("button", name="Copy code").click()
    scripted.button("Copied").wait_for()
    assert scripted.page.evaluate("navigator.clipboard.readText()") == "def f():\n    return 1"
    scripted.button("Copy answer").click()
    scripted.button("Copied").and_(scripted.page.get_by_title("Copy answer")).wait_for()
    assert scripted.page.evaluate("navigator.clipboard.readText()") == "".join(pieces)


def test_stop_and_continue(scripted: Chat, script: Script) -> None:
    script.then(Answer([text("One "), text("two")], then="wait"), Answer([text(" three.")]))
    scripted.draft.fill("Count")
    scripted.draft.press("Enter")
    scripted.page.get_by_text("One two").wait_for()
    scripted.page.get_by_role("button", name="Stop").click()
    scripted.wait()
    assert script.was_left.wait(10)
    assert "stopped" in scripted.last.locator(".facts").inner_text()
    assert scripted.page.locator("#announcements").inner_text() == "Answer stopped"
    scripted.page.reload()
    scripted.button("Continue").click()
    scripted.page.get_by_text("One two three.").wait_for()
    body = script.bodies[1]
    assert body["continue_final_message"] is True
    assert body["messages"][-1] == {"role": "assistant", "content": "One two"}
    assert scripted.button("Continue").count() == 0


def test_a_continued_answer_can_be_stopped(scripted: Chat, script: Script) -> None:
    script.then(Answer([text("One")], finish_reason="length"), Answer([text(" two")], then="wait"))
    scripted.ask("Count")
    scripted.button("Continue").click()
    scripted.page.get_by_text("One two").wait_for()
    assert scripted.page.locator("#announcements").inner_text() == "scripted is answering"
    scripted.page.get_by_role("button", name="Stop").click()
    scripted.wait()
    assert script.was_left.wait(10)
    assert "stopped" in scripted.last.locator(".facts").inner_text()


def test_a_cut_answer_goes_on_as_it_would_have(chat: Chat) -> None:
    chat.set(temperature="0")
    chat.ask(QUESTION)
    whole = chat.last.locator(".message-text").inner_text()
    chat.page.get_by_role("button", name="New conversation").click()
    chat.set(temperature="0", max_tokens="6")
    chat.ask(QUESTION)
    assert len(chat.last.locator(".message-text").inner_text()) < len(whole)
    assert "cut at its limit" in chat.last.locator(".facts").inner_text()
    chat.set(max_tokens="100")
    chat.button("Continue").click()
    chat.wait()
    assert chat.last.locator(".message-text").inner_text() == whole


def test_repeated_answers_are_branches(scripted: Chat, script: Script) -> None:
    script.then(*(Answer([text(name)]) for name in ("first", "second", "third")))
    scripted.ask("Name")
    scripted.button("Answer again").click()
    scripted.page.get_by_text("second").wait_for()
    scripted.wait()
    assert "2 / 2" in scripted.last.locator(".branches").inner_text()
    scripted.button("Previous branch").click()
    scripted.page.get_by_text("1 / 2").wait_for()
    assert scripted.last.locator(".message-text").inner_text() == "first"
    scripted.ask("On")
    assert [each["content"] for each in script.bodies[2]["messages"]] == ["Name", "first", "On"]
    scripted.page.reload()
    scripted.page.get_by_text("third").wait_for()
    scripted.answers.first.get_by_role("button", name="Next branch").click()
    scripted.page.get_by_text("2 / 2").wait_for()
    assert scripted.last.locator(".message-text").inner_text() == "second"


def test_an_edited_question_is_a_branch(scripted: Chat, script: Script) -> None:
    script.then(Answer([text("to red")]), Answer([text("to blue")]))
    scripted.ask("red")
    scripted.draft.press("ArrowUp")
    field = scripted.page.get_by_label("Edited message")
    assert field.input_value() == "red"
    field.fill("blue")
    field.press("Enter")
    scripted.page.get_by_text("to blue").wait_for()
    scripted.wait()
    assert script.bodies[1]["messages"] == [{"role": "user", "content": "blue"}]
    question = scripted.page.locator(".from-user")
    assert "2 / 2" in question.inner_text()
    question.get_by_role("button", name="Previous branch").click()
    scripted.page.get_by_text("to red").wait_for()
    assert question.locator(".message-text").inner_text() == "red"
    question.get_by_role("button", name="Edit").click()
    scripted.page.get_by_label("Edited message").press("Escape")
    assert question.locator(".message-text").inner_text() == "red"


def test_settings_reach_the_server(chat: Chat) -> None:
    values = {"temperature": 0.5, "top_p": 0.9, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1}
    values |= {"max_tokens": 5, "seed": 7}
    chat.set(system="Answer in one word.", **{name: str(value) for name, value in values.items()})
    chat.page.locator("#open-settings").click()
    chat.page.get_by_label("Reasoning").select_option("false")
    chat.page.keyboard.press("Escape")
    chat.ask(QUESTION)
    body = chat.bodies()[0]
    assert {name: body[name] for name in values} == values
    assert body["messages"][0] == {"role": "system", "content": "Answer in one word."}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "5 tokens" in chat.last.locator(".facts").inner_text()
    chat.page.reload()
    chat.last.wait_for()
    chat.page.locator("#open-settings").click()
    assert chat.page.locator("#setting-seed").input_value() == "7"
    chat.page.locator("#setting-seed").fill("-1")
    assert chat.page.get_by_text("The least is 0.").is_visible()
    chat.page.get_by_role("button", name="Back to the model").click()
    chat.page.keyboard.press("Escape")
    chat.ask("And now?")
    assert not values.keys() & chat.bodies()[-1].keys()
    assert [each["role"] for each in chat.bodies()[-1]["messages"]] == ["user", "assistant", "user"]


def test_the_model_is_chosen_and_told(chat: Chat) -> None:
    chat.ask(QUESTION)
    chat.page.get_by_label("Model").select_option("other")
    chat.ask("Again?")
    assert chat.bodies()[1]["model"] == "other"
    models = [
        facts.split("\n")[0] for facts in chat.page.locator(".facts span:first-child").all_inner_texts()
    ]
    assert models == ["demo", "other"]
    chat.page.reload()
    chat.last.wait_for()
    assert chat.page.locator("#model").input_value() == "other"


def test_reasoning_and_calls(scripted: Chat, script: Script) -> None:
    call = [
        thinking("They want "),
        thinking("the weather."),
        text("A moment."),
        calling("weather", '{"city":"Oslo"}'),
    ]
    script.then(Answer(call, finish_reason="tool_calls"), Answer([text("Snow.")]))
    tools = '[{"type": "function", "function": {"name": "weather"}}]'
    scripted.set(tools=tools)
    scripted.ask("Weather?")
    assert script.bodies[0]["tools"][0]["function"]["name"] == "weather"
    reasoning = scripted.last.locator("details.reasoning")
    assert reasoning.get_attribute("open") is None
    reasoning.locator("summary").click()
    assert "They want the weather." in reasoning.inner_text()
    assert "weather" in scripted.last.locator(".call-name").inner_text()
    assert scripted.last.locator(".call pre").inner_text() == '{\n  "city": "Oslo"\n}'
    scripted.page.get_by_label("Result of weather").fill("snow, -3")
    scripted.page.get_by_role("button", name="Give the model this").click()
    scripted.page.get_by_text("Snow.").wait_for()
    _, assistant, result = script.bodies[1]["messages"]
    assert assistant["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert result == {"role": "tool", "content": "snow, -3", "tool_call_id": assistant["tool_calls"][0]["id"]}


def test_an_answer_goes_on_while_another_conversation_is_open(scripted: Chat, script: Script) -> None:
    script.then(Answer([text("slow")], then="wait"), Answer([text("quick")]))
    scripted.draft.fill("first")
    scripted.draft.press("Enter")
    scripted.page.get_by_text("slow").wait_for()
    scripted.page.get_by_role("button", name="New conversation").click()
    scripted.ask("second")
    assert scripted.last.locator(".message-text").inner_text() == "quick"
    scripted.sidebar.get_by_role("button", name="first", exact=True).click()
    scripted.page.get_by_text("slow").wait_for()
    scripted.page.get_by_role("button", name="Stop").click()
    scripted.wait()


def test_a_deleted_conversation_stays_deleted(scripted: Chat, script: Script) -> None:
    script.then(Answer([text("slow")], then="wait"))
    scripted.draft.fill("first")
    scripted.draft.press("Enter")
    scripted.page.get_by_text("slow").wait_for()
    scripted.sidebar.locator(".entry").hover()
    scripted.sidebar.get_by_role("button", name="Delete").click()
    assert script.was_left.wait(10)
    scripted.page.locator("#empty").wait_for()
    scripted.page.reload()
    scripted.sidebar.get_by_text("Conversations stay in this browser.").wait_for()


def test_two_windows_show_the_same(scripted: Chat, script: Script, open_page: Callable[..., Chat]) -> None:
    beside = open_page(scripted.url, beside=scripted)
    script.then(Answer([text("seen by both")]))
    scripted.ask("Hello")
    beside.sidebar.get_by_role("button", name="Hello", exact=True).click()
    beside.page.get_by_text("seen by both").wait_for()
