"""What reaches a terminal, a pipe, and a program."""

from __future__ import annotations

import io
import json
import sys

import pytest

from genai.cli.output import dim, print_json, uses_color, write_text
from genai.cli.progress import StageProgress, StatusLine


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> Tty:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Tty()


def test_a_model_cannot_drive_the_terminal(tty: Tty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", tty)
    write_text("a\x1b[31mb\x07\r\n\tü好\x9b")
    assert tty.getvalue() == "a\ufffd[31mb\ufffd\n\tü好\ufffd"


def test_a_pipe_gets_the_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    write_text("a\x1b[31mb\r\n")
    assert capsys.readouterr().out == "a\x1b[31mb\r\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colours_where_they_are_not_wanted(
    tty: Tty, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert dim("x", tty) == "\x1b[2mx\x1b[0m"
    monkeypatch.setenv(name, value)
    assert dim("x", tty) == "x"


def test_no_colours_in_a_pipe() -> None:
    assert not uses_color(io.StringIO())


def test_json_is_one_line_that_every_parser_reads(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"score": float("-inf"), "text": "ü\n", "ids": (1, float("nan"))})
    assert json.loads(capsys.readouterr().out) == {"score": None, "text": "ü\n", "ids": [1, None]}


def test_progress_in_a_pipe_is_a_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress() as progress:
        for done in range(3):
            progress("Downloading x", done, 2_000_000)
        progress("Waiting", 0, 0)
    assert capsys.readouterr().err == "Downloading x (2.0 MB)\nWaiting\n"


def test_progress_counts_what_it_is_told(
    tty: Tty, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with StageProgress(unit="tokens") as progress:
        progress("Evaluating x", 0, 2_000)
    assert capsys.readouterr().err == "Evaluating x (2000 tokens)\n"
    monkeypatch.setattr(sys, "stderr", tty)
    with StageProgress(unit="tokens") as progress:
        progress("Evaluating x", 500, 2_000)
    assert "500/2000\x1b[0m tokens" in tty.getvalue()


def test_progress_may_be_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress(is_quiet=True) as progress:
        progress("Exporting", 1, 2)
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_leaves_nothing_behind(tty: Tty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", tty)
    with StageProgress() as progress:
        progress("Downloading [x]", 0, 2_000_000)
        progress("Downloading [x]", 2_000_000, 2_000_000)
    assert "Downloading [x]" in tty.getvalue()
    assert tty.getvalue().rstrip().endswith("\x1b[2K")


def test_the_status_line_is_for_terminals(
    tty: Tty, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with StatusLine() as show:
        show("Loading", 0, 0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", tty)
    with StatusLine() as show:
        show("Loading", 0, 0)
        show("Running", 0, 0)
    assert "Running" in tty.getvalue()
    assert tty.getvalue().rstrip().endswith("\x1b[2K")
