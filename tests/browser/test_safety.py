"""A model's text is a stranger's: it runs nothing, loads nothing, and leaves the page as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted_server import Answer, Script, calling, text, thinking, token
from tests.browser.test_conversations import import_file
from tests.server.conftest import Running

pytestmark = pytest.mark.browser
ATTACKS = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<svg onload=window.hacked=1><a xlink:href='javascript:window.hacked=1'>x</a></svg>",
    "<iframe srcdoc='<script>top.hacked = 1</script>'></iframe>",
    "<style>@import 'https://evil.example/x.css'; body { display: none }</style>",
    "<form action='https://evil.example'><input name=a><button>Send</button></form>",
    "<base href='https://evil.example/'><meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "[click](javascript:window.hacked=1)",
    "[click](JaVaScRiPt&colon;window.hacked=1)",
    "[click](data:text/html,<script>window.hacked=1</script>)",
    "[click](vbscript:x) <javascript:window.hacked=1>",
    "[click](//evil.example)",
    "![image](https://evil.example/pixel.png)",
    '[a](https://a.example "\\"><script>window.hacked=1</script>")',
    "```html\n<script>window.hacked = 1</script>\n```",
    '```js"><img src=x onerror=window.hacked=1>\nlet a\n```',
    "| <img src=x onerror=window.hacked=1> |\n|--|\n| <script>window.hacked=1</script> |",
    "- [ ] <input autofocus onfocus=window.hacked=1>",
    "&lt;img src=x onerror=window.hacked=1&gt;",
)
FOREIGN = "script, style, iframe, img, form:not(.results), base, meta, link, object, embed, svg:not(.icon), [onerror], [onload]"


def is_unharmed(chat: Chat) -> None:
    """Click whatever may be clicked, and look."""
    links = chat.page.locator("#messages a")
    for link in links.all():
        assert link.get_attribute("rel") == "noopener noreferrer"
        assert re.match(r"(https?|mailto):", link.get_attribute("href") or "")
    assert chat.page.locator("#messages").locator(FOREIGN).count() == 0
    for dead in chat.page.locator("#messages span", has_text="click").all():
        dead.click()
    assert chat.page.evaluate("window.hacked === undefined")
    assert chat.page.url.startswith(chat.url)


def test_answers(scripted: Chat, script: Script) -> None:
    for start in range(0, len(ATTACKS), 5):
        some = ATTACKS[start : start + 5]
        script.then(Answer([text(piece) for piece in re.findall(r"[\s\S]{1,7}", "\n\n".join(some))]))
        scripted.ask("\n".join(some))
        is_unharmed(scripted)
    assert "<script>window.hacked = 1</script>" in scripted.page.locator(".markdown p").first.inner_text()


def test_reasoning_calls_and_tokens(scripted: Chat, script: Script) -> None:
    attack = ATTACKS[1]
    parts = [
        thinking("\n\n".join(ATTACKS)),
        token(attack, 0.5, (ATTACKS[0], 0.4)),
        calling(attack, json.dumps({"a": attack})),
    ]
    script.then(Answer(parts))
    scripted.ask("?")
    scripted.last.locator("summary").click()
    scripted.button("Show token probabilities").click()
    scripted.last.locator(".token").hover()
    assert attack in scripted.last.locator(".token-card").inner_text().replace("␣", " ")
    is_unharmed(scripted)


def conversation_of(attack: str) -> dict[str, Any]:
    common = {
        "created": 1,
        "updated": 1,
        "settings": {"system": attack, "temperature": attack, "thinking": attack},
    }
    answer = {
        "id": "b",
        "parent": "a",
        "role": "assistant",
        "content": attack,
        "model": attack,
        "reasoning": attack,
    }
    answer |= {
        "finish": attack,
        "failure": {"kind": "failed", "text": attack},
        "stats": {"promptTokens": attack},
    }
    answer |= {"toolCalls": [{"id": attack, "name": attack, "arguments": attack}]}
    answer |= {"tokens": [{"text": attack, "logprob": attack, "top": [[attack, attack]]}]}
    messages = [{"id": "a", "parent": None, "role": "user", "content": attack}, answer]
    chosen = {"__proto__": {"polluted": 1}, "": "a"}
    return {"id": attack, "title": attack, "model": attack, "messages": messages, "chosen": chosen, **common}


def test_imported_files(scripted: Chat, tmp_path: Path) -> None:
    path = tmp_path / "attacks.json"
    conversations = [conversation_of(attack) for attack in ATTACKS[:4]]
    content = json.dumps({"format": "genai-conversations", "version": 1, "conversations": conversations})
    path.write_text(content.replace('"chosen": {', '"chosen": {"__proto__": {"polluted": 1}, '), "utf-8")
    import_file(scripted, path)
    scripted.page.get_by_text("4 conversations imported").wait_for()
    assert scripted.sidebar.locator("script, img:not(.brand img), iframe").count() == 0
    for entry in scripted.sidebar.locator(".open").all():
        entry.click()
        scripted.last.locator(".failure").wait_for()
        is_unharmed(scripted)
    assert scripted.page.evaluate("({}).polluted === undefined")
    import_file(scripted, path)
    scripted.page.get_by_text("0 conversations imported").wait_for()


def test_the_policy_holds(open_page: Callable[..., Chat], server: Running, script: Script) -> None:
    """What the other tests find nothing of is found here, where it is done."""
    chat = open_page(server.url)
    tries = """async () => {
        const caught = [];
        await fetch("http://127.0.0.1:9/").catch(() => caught.push("fetch"));
        try { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); } catch { caught.push("markup"); }
        try { setTimeout("window.hacked = 1"); } catch { caught.push("code"); }
        const image = new Image();
        await new Promise((resolve) => { image.onerror = resolve; image.src = "http://127.0.0.1:9/x.png"; });
        const style = document.createElement("style");
        style.textContent = "body { display: none }";
        document.body.append(style);
        return [...caught, getComputedStyle(document.body).display];
    }"""
    assert chat.page.evaluate(tries) == ["fetch", "markup", "code", "grid"]
    violated = {each.split(":")[0] for each in chat.page.evaluate("window.violations")}
    assert violated >= {"connect-src", "img-src", "require-trusted-types-for", "style-src-elem"}
    chat.page.evaluate("window.violations.length = 0")
    chat.problems.clear()
    chat.requests.clear()
