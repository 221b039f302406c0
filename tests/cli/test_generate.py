"""`genai generate`."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genai.cli.interrupts import Interruption
from genai.generator import Generator
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]


def test_streams_what_generate_returns(cli: Cli, model: Path) -> None:
    with Generator(model) as generator:
        expected = generator.generate("the quick", max_new_tokens=20).text
    assert cli("generate", "the quick", "-m", model, "--max-new-tokens", 20) == Outcome(
        0, expected + "\n", ""
    )


def test_prompt_from_stdin(cli: Cli, model: Path) -> None:
    given = cli("generate", "the quick", "-m", model, "--max-new-tokens", 9)
    assert cli("generate", "-", "-m", model, "--max-new-tokens", 9, stdin="the quick\n") == given


def test_stdin_that_is_no_text(cli: Cli, model: Path) -> None:
    done = cli("generate", "-", "-m", model, stdin=b"\xff\xfe\xfa")
    assert done.code == 2
    assert "not UTF-8" in done.error


def test_json(cli: Cli, model: Path) -> None:
    done = cli("generate", "the", "-m", model, "--max-new-tokens", 5, "--top-logprobs", 2, "--json")
    assert done.code == 0
    value = json.loads(done.stdout)
    assert value.keys() >= {"text", "token_ids", "finish_reason", "stats", "choices", "logprobs"}
    assert len(value["logprobs"]) == len(value["token_ids"]) <= 5
    assert len(value["logprobs"][0]["top_logprobs"]) == 2
    assert value["stats"]["generated_tokens"] == len(value["token_ids"])


def test_beams(cli: Cli, model: Path) -> None:
    with Generator(model) as generator:
        expected = generator.generate("the", max_new_tokens=8, num_beams=3).text
    arguments = ["generate", "the", "-m", model, "--max-new-tokens", 8, "--num-beams", 3]
    assert cli(*arguments).stdout == expected + "\n"
    several = json.loads(cli(*arguments, "--num-return-sequences", 2, "--json").stdout)
    assert several["choices"][0]["text"] == expected
    assert len(several["choices"]) == 2


def test_an_option_without_a_flag(cli: Cli, model: Path) -> None:
    with Generator(model) as generator:
        banned = generator.generate("the", max_new_tokens=8).token_ids[:2]
        expected = generator.generate("the", max_new_tokens=8, suppress_tokens=banned).text
    assignment = f"suppress-tokens={json.dumps(banned)}"
    done = cli("generate", "the", "-m", model, "--max-new-tokens", 8, "--set", assignment)
    assert done == Outcome(0, expected + "\n", "")


def test_several_samples(cli: Cli, model: Path) -> None:
    arguments = ["generate", "the", "-m", model, "--max-new-tokens", 8, "--temperature", 1.5, "--seed", 3]
    arguments += ["--num-return-sequences", 3]
    texts = [choice["text"] for choice in json.loads(cli(*arguments, "--json").stdout)["choices"]]
    assert len(set(texts)) == 3
    assert cli(*arguments).stdout == "\n\n".join(texts) + "\n"


def test_several_sequences_need_sampling(cli: Cli, model: Path) -> None:
    done = cli("generate", "the", "-m", model, "--num-return-sequences", 2)
    assert done.code == 2
    assert "num_return_sequences" in done.error


def test_logprobs_need_json(cli: Cli) -> None:
    for option in (["--logprobs"], ["--top-logprobs", 2], ["--set", "prompt_logprobs=0"]):
        done = cli("generate", "the", "-m", "/nowhere", *option)
        assert done.code == 2
        assert "--json" in done.error


def test_stop_texts_and_stats(cli: Cli, model: Path) -> None:
    whole = cli("generate", "the", "-m", model, "--max-new-tokens", 30, "--ignore-eos").stdout[:-1]
    stop = whole[3:5]
    done = cli(
        "generate", "the", "-m", model, "--max-new-tokens", 30, "--ignore-eos", "--stop", stop, "--stats"
    )
    assert done.stdout[:-1] == whole[: whole.index(stop)]
    assert "tokens/s" in done.stderr


def test_a_prompt_beyond_the_context(cli: Cli, model: Path) -> None:
    done = cli("generate", "the " * 300, "-m", model, "--max-context", 64)
    assert done.code == 2
    assert "64" in done.error


def test_a_generation_beyond_the_context(cli: Cli, endless_model: Path) -> None:
    flags = ["--max-context", "32", "--max-new-tokens", "60", "--json", "--context-policy"]
    done = cli("generate", "the", "-m", endless_model, *flags, "shift", "--num-sink-tokens", "2")
    assert json.loads(done.stdout)["stats"]["generated_tokens"] == 60
    stopped = cli("generate", "the", "-m", endless_model, *flags, "stop")
    assert json.loads(stopped.stdout)["stats"]["generated_tokens"] < 32


def test_head_goes_away(endless_model: Path, environment: dict[str, str]) -> None:
    command = (
        f"'{sys.executable}' -m genai generate the -m '{endless_model}' | head -c 20; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.endswith("0\n")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_keeps_what_came(endless_model: Path, environment: dict[str, str]) -> None:
    arguments = ["generate", "the", "-m", endless_model, "--max-new-tokens", "100000", "--stats"]
    process = subprocess.Popen(
        [sys.executable, "-m", "genai", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert len(process.stdout.read(40)) == 40
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert b"tokens/s" in errors
    assert rest.endswith(b"\n")


def test_json_of_what_was_interrupted(cli: Cli, endless_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def interrupted_at_once(stop: Callable[[], None]) -> Iterator[Interruption]:
        interruption = Interruption()
        interruption.happened = True
        stop()
        yield interruption

    monkeypatch.setattr("genai.cli.generate.interrupts_call", interrupted_at_once)
    done = cli("generate", "the", "-m", endless_model, "--json")
    assert done.code == 130
    assert json.loads(done.stdout)["finish_reason"] == "cancelled"


def test_forms_of_answers(cli: Cli, model: Path, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    schema["additionalProperties"] = False  # type: ignore[assignment]
    (tmp_path / "schema.json").write_text(json.dumps(schema), encoding="utf-8")
    (tmp_path / "list.gbnf").write_text('root ::= "x" "y"\n', encoding="utf-8")

    def answer(*flags: object) -> str:
        done = cli("generate", "the", "-m", model, *flags)
        assert done.code == 0, done.error
        return done.stdout

    inline = answer("--schema", json.dumps(schema), "--json")
    assert json.loads(inline)["parsed"]["a"] in (1, 2)
    assert json.loads(answer("--schema", tmp_path / "schema.json"))["a"] in (1, 2)
    assert answer("--regex", "[0-9]{4}").strip().isdecimal()
    assert answer("--choices", "fox,dog").strip() in ("fox", "dog")
    assert answer("--choices", "fox,a", "--choices", "dog,b").strip() in ("fox,a", "dog,b")
    assert answer("--grammar", tmp_path / "list.gbnf") == "xy\n"
    assert cli("chat", "the", "-m", model, "--choices", "fox,dog").stdout.strip() in ("fox", "dog")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--regex", "a", "--choices", "a,b"], "--regex and --choices exclude each other"),
        (["--schema", "{", "--seed", "1"], "--schema is no JSON"),
        (["--schema", "none.json"], "none.json cannot be read"),
        (["--schema", '{"not": {}}'], '"not"'),
        (["--regex", ""], "regex must be a text, not empty"),
        (["--choices", "a,"], "choices must be a text, not empty"),
        (["--grammar", "none.lark"], "none.lark cannot be read"),
        (["--grammar", 'root ::= "a"'], "--grammar takes a file: "),
        (["--regex", "a", "--ignore-eos"], "ignore_eos cannot be combined with response_format"),
    ],
)
def test_forms_that_are_wrong(cli: Cli, model: Path, flags: list[str], said: str) -> None:
    done = cli("generate", "the", "-m", model, *flags)
    assert done.code == 2
    assert said in done.error


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_a_form_that_was_cut_off_is_a_failure(cli: Cli, model: Path, command: str) -> None:
    done = cli(command, "the", "-m", model, "--regex", "[0-9]{40}", "--max-new-tokens", 3)
    assert done.code == 1
    assert done.stdout.strip().isdecimal()
    (note,) = done.stderr.splitlines()
    assert note.startswith("cut off after 3 tokens: max_new_tokens,")
    assert note.endswith("the form is not complete")
    whole = cli(command, "the", "-m", model, "--regex", "[0-9]{4}")
    assert (whole.code, whole.stderr) == (0, "")
