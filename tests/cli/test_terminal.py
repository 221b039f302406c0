"""`genai chat` in a real terminal: tmux types, and what is on its screen is looked at."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="tmux"),
]

LIMIT_SECONDS = 30.0


class Terminal:
    """A tmux session that runs one command."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._tmux = ["tmux", "-L", f"genai-test-{uuid.uuid4().hex}", "-f", "/dev/null"]
        line = f"{shlex.join(command)}; echo exit=$?; exec sleep 100"
        self._run("new-session", "-d", "-x", "160", "-y", "60", line, environment=environment)

    def type(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def screen(self, *, escapes: bool = False) -> str:
        return self._run("capture-pane", "-p", *(["-e"] if escapes else [])).rstrip()

    def wait_for(self, text: str, *, count: int = 1, gone: bool = False) -> str:
        """Return the screen as soon as it shows the text this often (or, with gone, no more)."""
        end = time.monotonic() + LIMIT_SECONDS
        while (self.screen().count(text) >= count) is gone:
            assert time.monotonic() < end, f"{text!r} did not {'go' if gone else 'come'}:\n{self.screen()}"
            time.sleep(0.05)
        return self.screen()

    def wait_for_prompt(self) -> str:
        """Return the screen as soon as its last line is an empty prompt."""
        end = time.monotonic() + LIMIT_SECONDS
        while not self.screen().endswith("\n>>>"):
            assert time.monotonic() < end, f"no prompt came:\n{self.screen()}"
            time.sleep(0.05)
        return self.screen()

    def close(self) -> None:
        self._run("kill-server")

    def _run(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], capture_output=True, encoding="utf-8", env=environment, check=True
        )
        return done.stdout


@pytest.fixture
def terminal(endless_model: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    command = [
        sys.executable,
        "-m",
        "genai",
        "chat",
        "--model",
        str(endless_model),
        "--max-new-tokens",
        "100000",
    ]
    terminal = Terminal(command, {**environment, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"})
    yield terminal
    terminal.close()


def test_a_conversation(terminal: Terminal, tmp_path: Path) -> None:
    screen = terminal.wait_for_prompt()
    assert "on cpu, context of 200000 tokens" in screen
    assert "/help lists the commands" in screen

    # Ctrl-C stops an answer; what came stays, and the program goes on.
    terminal.type("Grüße 你好")
    terminal.wait_for(">>> Grüße 你好")  # before the answer scrolls it away
    terminal.type("Enter")
    time.sleep(1)
    terminal.type("C-c")
    terminal.wait_for("Stopped.")
    screen = terminal.wait_for_prompt()
    assert re.search(r"tokens/s, (.* accepted, )?prompt", screen)
    assert "\x1b[2m" in terminal.screen(escapes=True)
    terminal.type("/clear", "Enter")
    terminal.wait_for("The conversation starts over.")

    # Several lines are one message, by a block and by Alt-Enter.
    terminal.type("/set max_new_tokens 5", "Enter")
    terminal.wait_for("max_new_tokens = 5")
    terminal.type('"""', "Enter", "first line", "Enter", "second line", "Enter", '"""', "Enter")
    terminal.wait_for("Stopped at max_new_tokens=5")
    assert "... second line" in terminal.wait_for_prompt()
    terminal.type("third", "M-Enter", "fourth", "Enter")
    terminal.wait_for("Stopped at max_new_tokens=5", count=2)
    terminal.wait_for_prompt()
    terminal.type("/regen", "Enter")
    terminal.wait_for("Greedy decoding gives the same answer again")
    terminal.wait_for_prompt()
    terminal.type("/undo", "Enter")
    terminal.wait_for("Taken back: third fourth")
    terminal.type("/undo", "Enter")
    terminal.wait_for("Taken back: first line second line")

    # Ctrl-C at the prompt clears the line; Tab completes; Ctrl-D leaves.
    terminal.type("half a line", "C-c")
    terminal.wait_for_prompt()
    terminal.type("/sta", "Tab")
    terminal.wait_for(">>> /stats")
    terminal.type("Enter")
    terminal.wait_for("session      3 answers")
    terminal.type("/hlep", "Enter")
    terminal.wait_for('Did you mean "/help"?')
    terminal.type("C-d")
    terminal.wait_for("exit=0")

    history = (tmp_path / "home" / "genai" / "chat_history").read_text(encoding="utf-8")
    assert "Grüße 你好" in history
    assert "Traceback" not in terminal.screen()


def test_no_color(endless_model: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "genai", "chat", "--model", str(endless_model), "--max-new-tokens", "5"]
    terminal = Terminal(
        command, {**environment, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color", "NO_COLOR": "1"}
    )
    try:
        terminal.wait_for_prompt()
        terminal.type("Hello", "Enter")
        terminal.wait_for("tokens/s, prompt")
        assert "\x1b[2m" not in terminal.screen(escapes=True)
    finally:
        terminal.close()
