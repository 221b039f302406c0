"""The program as a whole: help, version, wrong usage, streams that are closed or full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genai import __version__
from tests.cli.conftest import Outcome

COMMANDS = (
    [],
    ["chat"],
    ["generate"],
    ["tokenize"],
    ["export"],
    ["validate"],
    ["evaluate"],
    ["benchmark"],
    ["providers"],
    ["models"],
    ["models", "list"],
    ["models", "pull"],
    ["models", "show"],
    ["models", "remove"],
)
Cli = Callable[..., Outcome]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_ends_with_an_example(cli: Cli, command: list[str]) -> None:
    done = cli(*command, "--help")
    assert done.code == 0
    assert done.stderr == ""
    *_, title, example = done.stdout.rstrip().partition("Examples:")
    assert title
    assert (
        example.strip()
        .splitlines()[-1]
        .split(" genai ")[-1]
        .strip()
        .removeprefix("genai ")
        .startswith(" ".join(command))
    )


@pytest.mark.parametrize("command", [[], ["models"]])
def test_no_command_shows_help(cli: Cli, command: list[str]) -> None:
    done = cli(*command)
    assert done.code == 0
    assert "Usage: genai" in done.stdout


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["list", "--json"], ["models", "list", "--json"]),
        (["ls"], ["models", "list"]),
        (["show", "demo"], ["models", "show", "demo"]),
        (["pull", "demo"], ["models", "pull", "demo"]),
        (["rm", "nothing/there", "--yes"], ["models", "remove", "nothing/there", "--yes"]),
        (["run", "--help"], ["chat", "--help"]),
        (
            ["run", "demo", "What is int4?", "--max-new-tokens", "4"],
            ["chat", "--model", "demo", "What is int4?", "--max-new-tokens", "4"],
        ),
    ],
)
def test_words_of_other_tools_are_understood(cli: Cli, typed: list[str], meant: list[str]) -> None:
    assert cli(*typed) == cli(*meant)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (["ps"], "genai models list"),
        (["create", "x"], "genai export"),
        (["run", "--seed", "1", "demo"], "model first"),
    ],
)
def test_words_that_mean_nothing_here_point_the_way(cli: Cli, typed: list[str], hint: str) -> None:
    done = cli(*typed)
    assert done.code == 2
    assert hint in done.error


def test_version(genai: Cli) -> None:
    assert genai("--version") == Outcome(0, f"genai {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["chta"], "No such command 'chta'"),
        (["generate"], "Missing argument 'PROMPT'. Try `genai generate --help`."),
        (["generate", "x", "--temprature", "1"], "--temperature"),
        (["generate", "x", "--temperature", "hot"], "'--temperature'"),
        (["generate", "x", "--temperature", "-1"], "temperature must be a number >= 0, not -1.0"),
        (["generate", "x", "--device-id", "-1"], "'--device-id'"),
        (["generate", "x", "--provider", "cud"], 'Did you mean "cuda"?'),
        (["export", "x"], "--output"),
        (["models", "remvoe"], "No such command 'remvoe'"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: list[str], expected: str) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert done.stdout == ""
    assert expected in done.error


def test_verbose_shows_the_traceback(cli: Cli) -> None:
    done = cli("generate", "x", "--model", "/nowhere", "--verbose")
    assert done.code == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("genai: error: there is no folder /nowhere")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell")
@pytest.mark.parametrize("command", ["--help", "--version", "models", "providers"])
def test_an_output_that_cannot_be_written(environment: dict[str, str], command: str) -> None:
    def shell(line: str) -> Outcome:
        script = f"'{sys.executable}' -m genai {command} {line}"
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, encoding="utf-8", env=environment, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    assert shell("| true; exit ${PIPESTATUS[0]}") == Outcome(0, "", "")
    assert shell(">&-") == Outcome(0, "", "")
    if Path("/dev/full").exists():
        full = shell("> /dev/full")
        assert (full.code, full.error) == (1, "No space left on device")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell")
def test_without_a_standard_input(environment: dict[str, str]) -> None:
    script = f"'{sys.executable}' -m genai chat <&-"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == 2
    assert "nothing to answer" in done.stderr
