"""The list of conversations, what is kept, and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted_server import Answer, Script, text, token

pytestmark = pytest.mark.browser


def converse(chat: Chat, script: Script, question: str, answer: str) -> None:
    chat.page.get_by_role("button", name="New conversation").click()
    script.then(Answer([text(answer)]))
    chat.ask(question)


def export_all(chat: Chat, folder: Path) -> dict[str, Any]:
    with chat.page.expect_download() as download:
        chat.page.get_by_role("button", name="Export all conversations").click()
    path = folder / "exported.json"
    download.value.save_as(path)
    exported: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return exported


def import_file(chat: Chat, path: Path) -> None:
    with chat.page.expect_file_chooser() as chooser:
        chat.page.get_by_role("button", name="Import conversations").click()
    chooser.value.set_files(path)


def test_search_rename_delete_and_undo(scripted: Chat, script: Script) -> None:
    converse(scripted, script, "About cats", "They purr.")
    converse(scripted, script, "About dogs", "They bark.")
    assert scripted.titles == ["About dogs", "About cats"]
    search = scripted.page.get_by_label("Search conversations")
    scripted.page.keyboard.press("Control+k")
    assert scripted.page.evaluate("document.activeElement.id") == "search"
    scripted.page.keyboard.type("PURR")
    assert scripted.titles == ["About cats"]
    assert "They purr." in scripted.sidebar.inner_text()
    search.fill("zebra")
    scripted.sidebar.get_by_text("Nothing found").wait_for()
    search.press("Escape")
    entry = scripted.sidebar.locator(".entry", has_text="About cats")
    entry.hover()
    entry.get_by_role("button", name="Rename").click()
    title = scripted.page.get_by_label("Title")
    title.fill("Felines")
    title.press("Enter")
    assert scripted.titles == ["About dogs", "Felines"]
    entry = scripted.sidebar.locator(".entry", has_text="Felines")
    entry.hover()
    entry.get_by_role("button", name="Delete").click()
    scripted.page.get_by_text("Deleted “Felines”").wait_for()
    assert scripted.titles == ["About dogs"]
    scripted.page.get_by_role("button", name="Undo").click()
    scripted.page.get_by_text("They purr.").wait_for()
    scripted.page.reload()
    scripted.page.get_by_text("They purr.").wait_for()
    assert scripted.titles == ["About dogs", "Felines"]


def test_a_file_has_everything_and_can_be_read_again(scripted: Chat, script: Script, tmp_path: Path) -> None:
    scripted.set(system="Be brief.", temperature="0.3")
    script.then(Answer([token("One", 0.5, ("Two", 0.4))]), Answer([text("Another")]))
    scripted.ask("Say")
    scripted.button("Answer again").click()
    scripted.page.get_by_text("Another").wait_for()
    scripted.wait()
    before = export_all(scripted, tmp_path)
    (conversation,) = before["conversations"]
    assert [each["content"] for each in conversation["messages"]] == ["Say", "One", "Another"]
    assert conversation["settings"] == {"system": "Be brief.", "temperature": 0.3}
    assert conversation["messages"][1]["tokens"][0]["text"] == "One"
    import_file(scripted, tmp_path / "exported.json")
    scripted.page.get_by_text("0 conversations imported").wait_for()
    scripted.sidebar.locator(".entry").hover()
    scripted.sidebar.get_by_role("button", name="Delete").click()
    scripted.sidebar.get_by_text("Conversations stay in this browser.").wait_for()
    import_file(scripted, tmp_path / "exported.json")
    scripted.page.get_by_text("1 conversation imported").wait_for()
    scripted.page.get_by_text("2 / 2").wait_for()
    assert export_all(scripted, tmp_path) == before
    scripted.button("Previous branch").click()
    scripted.button("Show token probabilities").click()
    assert scripted.last.locator(".token").all_inner_texts() == ["One"]


def test_one_conversation_as_markdown(scripted: Chat, script: Script, tmp_path: Path) -> None:
    converse(scripted, script, "Why? Really", "**Because.**")
    scripted.page.get_by_label("Save this conversation").click()
    with scripted.page.expect_download() as download:
        scripted.page.get_by_role("button", name="Save as Markdown").click()
    assert download.value.suggested_filename == "why-really.md"
    download.value.save_as(tmp_path / "saved.md")
    assert (tmp_path / "saved.md").read_text("utf-8") == (
        "# Why? Really\n\n**You**\n\nWhy? Really\n\n**scripted**\n\n**Because.**\n"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "This file is not JSON."),
        ("[]", "This file holds no conversations of this page."),
        ('{"format": "genai-conversations", "version": 99, "conversations": []}', "written by a newer page"),
    ],
)
def test_other_files_are_refused(scripted: Chat, tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content, "utf-8")
    import_file(scripted, path)
    scripted.page.get_by_text(problem).wait_for()


def test_drafts_are_kept(scripted: Chat, script: Script) -> None:
    converse(scripted, script, "First", "Yes.")
    scripted.draft.fill("half a thought")
    scripted.page.get_by_role("button", name="New conversation").click()
    assert scripted.draft.input_value() == ""
    scripted.draft.fill("another")
    scripted.page.reload()
    scripted.page.locator("#model:enabled").wait_for()
    assert scripted.draft.input_value() == "another"
    scripted.sidebar.get_by_role("button", name="First", exact=True).click()
    scripted.page.get_by_text("Yes.").wait_for()
    assert scripted.draft.input_value() == "half a thought"
