"""Tools and reasoning in `genai chat`: calls as lines of JSON, reasoning apart, and both in --json."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genai.cli.chat.model import GeneratorModel
from genai.cli.chat.screen import StandardScreen
from genai.cli.chat.session import Session
from genai.cli.chat.tools_file import read_tools
from genai.engine import Piece
from tests.cli.conftest import Outcome
from tests.cli.fake_chat import Conversation, FakeAnswer
from tests.scripted import THINKING, make_scripted

Cli = Callable[..., Outcome]
ANSWER = '\nIn Paris?\n</think>\n\nI look.<tool_call>{"name": "get_weather", "arguments": {"city": "Köln"}}</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    make_scripted(tmp_path / "model", monkeypatch, [ANSWER], template=THINKING)
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS), "utf-8")
    return ["chat", "Hello", "-m", tmp_path / "model", "--tools", tmp_path / "tools.json"]


def test_calls_are_lines_of_json(cli: Cli, arguments: list[Any]) -> None:
    done = cli(*arguments)
    assert (done.code, done.stderr) == (0, "")
    said, call = done.stdout.splitlines()
    assert said == "I look."
    value = json.loads(call)
    assert value.pop("id").startswith("call_")
    assert value == {"name": "get_weather", "arguments": {"city": "Köln"}}


def test_json_has_both(cli: Cli, arguments: list[Any]) -> None:
    value = json.loads(cli(*arguments, "--json").stdout)
    assert (value["text"], value["reasoning"]) == ("I look.", "In Paris?")
    assert [call["arguments"] for call in value["tool_calls"]] == [{"city": "Köln"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*tools.json"),
        ("{", "tools.json is no JSON: .*a Python file's name ends in .py"),
        ('{"a": 1}', "tools.json must hold a list of JSON schemas of functions"),
        ('[{"type": "function"}]', "a tool's schema must have the form"),
    ],
)
def test_a_file_without_tools_is_refused(
    cli: Cli, arguments: list[Any], content: str | None, message: str
) -> None:
    path = Path(arguments[-1])
    path.unlink()
    if content is not None:
        path.write_text(content, "utf-8")
    done = cli(*arguments)
    assert done.code == 2
    assert re.search(message, done.error), done.error


PYTHON = """
from __future__ import annotations
import genai

@genai.tool
def get_weather(city: str) -> str:
    "Tell the weather."
    return f"21 degrees in {city}"

def not_a_tool():
    pass
"""


@pytest.fixture
def python_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    make_scripted(
        tmp_path / "model", monkeypatch, [ANSWER, "\nSo.\n</think>\n\nIt is warm."], template=THINKING
    )
    (tmp_path / "tools.py").write_text(PYTHON, "utf-8")
    return ["chat", "Hello", "-m", tmp_path / "model", "--tools", tmp_path / "tools.py"]


def test_a_call_can_be_asked_for(cli: Cli, model: Path, tmp_path: Path) -> None:
    city = {"enum": ["Rome", "Oslo"]}
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    function = {"name": "get_weather", "parameters": parameters}
    (tmp_path / "tools.json").write_text(json.dumps([{"type": "function", "function": function}]), "utf-8")
    arguments = ["chat", "Hello", "-m", model, "--tools", tmp_path / "tools.json", "--tool-choice"]
    (call,) = cli(*arguments, "get_weather").stdout.splitlines()
    assert json.loads(call)["arguments"]["city"] in city["enum"]
    assert 'Did you mean "get_weather"' in cli(*arguments, "get_wether").error
    assert "needs tools" in cli("chat", "Hello", "-m", model, "--tool-choice", "required").error


def test_python_functions_are_called(cli: Cli, python_tools: list[Any]) -> None:
    done = cli(*python_tools)
    assert (done.code, done.stdout) == (0, "I look.\nIt is warm.\n")
    assert done.stderr == '[get_weather({"city": "Köln"}) returned 21 degrees in Köln]\n'


def test_json_has_what_was_added(cli: Cli, python_tools: list[Any]) -> None:
    value = json.loads(cli(*python_tools, "--json").stdout)
    assert value["text"] == "It is warm."
    assert [message["role"] for message in value["messages"]] == ["assistant", "tool", "assistant"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "tools.py has no function that is marked as a tool"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
    ],
)
def test_a_python_file_without_tools_is_refused(
    cli: Cli, python_tools: list[Any], content: str, message: str
) -> None:
    Path(python_tools[-1]).write_text(content, "utf-8")
    done = cli(*python_tools)
    assert done.code == 2
    assert message in done.error


def test_calls_and_reasoning_stay_in_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python_tools: list[Any]
) -> None:
    generator, _ = make_scripted(
        tmp_path / "model", monkeypatch, [ANSWER, "\nSo.\n</think>\n\nIt is warm."], template=THINKING
    )
    session = Session(GeneratorModel(generator, "scripted", tools=read_tools(Path(python_tools[-1]))))
    session.ask("Hello", lambda _text: None)
    assert [message.role for message in session.messages] == ["user", "assistant", "tool", "assistant"]
    assert [message.reasoning_content for message in session.messages] == [None, "In Paris?", None, "So."]
    assert session.context_used == generator.count_tokens(
        messages=session.messages, tools=read_tools(Path(python_tools[-1]))
    )


def test_a_conversation_shows_reasoning_apart() -> None:
    talk = Conversation()

    class Thinking(FakeAnswer):
        def __iter__(self) -> Any:
            yield Piece("", (0,), reasoning="Hm")
            yield from super().__iter__()
            assert self.result is not None
            self.result = dataclasses.replace(self.result, reasoning="Hm")

    talk.model.answer = lambda *_: Thinking(["Good ", "day"], 1)  # type: ignore[method-assign]
    talk.say("Hello")
    assert talk.screen.reasonings == ["Hm"]
    assert talk.screen.answers[0] == "Good day"
    assert talk.said[-1] == ("assistant", "Good day")
    # For templates that show it between calls; the others leave it out themselves.
    assert talk.session.messages[-1].reasoning_content == "Hm"


@pytest.mark.parametrize(("is_terminal", "shows"), [(True, True), (True, False), (False, True)])
def test_reasoning_recedes_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool, shows: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = StandardScreen(shows_reasoning=shows)
    screen.reasoning("H\x1b[2Jm")
    screen.answer("Good day")
    screen.end_answer()
    out, err = capsys.readouterr()
    assert out == "Good day\n"
    assert err == ("\x1b[2mH\ufffd[2Jm\x1b[0m\x1b[2m\n\n\x1b[0m" if is_terminal and shows else "")
