"""`genai chat` with a real model: one answer, pipes, Ctrl-C, models that cannot chat."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genai.cli.chat.model import GeneratorModel
from genai.cli.chat.session import Session
from genai.cli.interrupts import interrupts_call
from genai.config import Message
from genai.generator import Generator
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
CUT = "cut off after 12 tokens: max_new_tokens, max_time or the context allows no more\n"


def reference(model: Path, text: str, *, system: str | None = None) -> str:
    messages = [Message("system", system)] if system else []
    with Generator(model) as generator:
        return generator.chat([*messages, Message("user", text)], max_new_tokens=12).text.rstrip("\n")


def test_one_answer(cli: Cli, model: Path) -> None:
    done = cli("chat", "Hello", "-m", model, "--max-new-tokens", 12)
    assert (done.code, done.stderr) == (0, CUT)
    assert done.stdout == reference(model, "Hello") + "\n"


def test_in_a_pipe(genai: Cli, model: Path) -> None:
    done = genai("chat", "-m", model, "--max-new-tokens", 12, "--system", "Hm.", stdin="Hello\n")
    assert (done.code, done.stderr) == (0, CUT)
    assert done.stdout.rstrip("\n") == reference(model, "Hello", system="Hm.").replace("\r", "\n")


def test_json(cli: Cli, model: Path) -> None:
    done = cli("chat", "Hello", "-m", model, "--max-new-tokens", 12, "--json", "--stats")
    value = json.loads(done.stdout)
    assert value["text"].rstrip("\n") == reference(model, "Hello")
    assert value["stats"]["prompt_tokens"] == len(value["prompt_token_ids"])
    assert "prompt" in done.stderr


def test_an_answer_that_was_cut_off_says_so(cli: Cli, endless_model: Path) -> None:
    done = cli("chat", "Hello", "-m", endless_model, "--max-new-tokens", 5, "--max-context", 999)
    assert done.code == 0
    assert done.stderr.startswith("cut off after 5 tokens: max_new_tokens")
    assert "form" not in done.stderr


def test_log_probabilities(cli: Cli, model: Path) -> None:
    arguments = ["chat", "Hello", "-m", model, "--max-new-tokens", 3, "--top-logprobs", 2]
    assert "pass --json too" in cli(*arguments).error
    value = json.loads(cli(*arguments, "--json").stdout)
    assert [len(each["top_logprobs"]) for each in value["logprobs"]] == [2] * len(value["token_ids"])


def test_files_stand_before_the_prompt(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("\ufeffthe quick\n", encoding="utf-8")
    done = cli("chat", "Hello", "-f", path, "-f", "-", "-m", model, "--max-new-tokens", 12, stdin="fox\n")
    assert (done.code, done.stderr) == (0, CUT)
    assert done.stdout == reference(model, "the quick\n\nfox\n\nHello") + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Hello", "-f", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["-", "-f", "-"], "standard input is read once"),
        (["Hello", "-f", "-", "-f", "-"], "standard input is read once"),
    ],
)
def test_files_that_cannot_be_read(cli: Cli, model: Path, arguments: list[str], message: str) -> None:
    done = cli("chat", *arguments, "-m", model, stdin="fox")
    assert done.code == 2
    assert message in done.error


@pytest.mark.parametrize("text", ["", " \n"])
def test_nothing_to_answer(cli: Cli, model: Path, text: str) -> None:
    done = cli("chat", "-m", model, stdin=text)
    assert done.code == 2
    assert "nothing to answer" in done.error


def test_a_message_beyond_the_context(cli: Cli, model: Path) -> None:
    done = cli("chat", "the " * 300, "-m", model, "--max-context", 64)
    assert done.code == 2
    assert "64" in done.error


def test_a_model_without_chat_template(cli: Cli, model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base, ignore=shutil.ignore_patterns("chat_template.jinja"))
    config = json.loads((base / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    done = cli("chat", "Hello", "-m", base)
    assert done.code == 1
    assert f"genai generate --model {base}" in done.error


def test_template_options(cli: Cli, model: Path, tmp_path: Path) -> None:
    thinker = tmp_path / "thinker"
    shutil.copytree(model, thinker)
    (thinker / "chat_template.jinja").write_text("{{ 'yes' if enable_thinking else 'no, not at all' }}")
    lengths = [
        json.loads(cli("chat", "x", "-m", thinker, "--max-new-tokens", 1, "--json", flag).stdout)["stats"][
            "prompt_tokens"
        ]
        for flag in ("--think", "--no-think")
    ]
    assert lengths[0] < lengths[1]


def test_beams_answer_at_the_end(cli: Cli, model: Path) -> None:
    with Generator(model) as generator:
        expected = generator.chat([Message("user", "Hello")], max_new_tokens=8, num_beams=3).text
    done = cli("chat", "Hello", "-m", model, "--max-new-tokens", 8, "--num-beams", 3)
    assert done.stdout.rstrip("\n") == expected.rstrip("\n")


def test_a_conversation_reuses_its_prefix(model: Path) -> None:
    with Generator(model) as generator:
        session = Session(GeneratorModel(generator, "model"), settings={"max_new_tokens": 4})
        first = session.ask("the quick brown fox", lambda _text: None)
        second = session.ask("jumps", lambda _text: None)
    assert first.stats.cached_prompt_tokens == 0
    assert second.stats.cached_prompt_tokens >= first.stats.prompt_tokens - 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_stops_the_answer_and_not_the_program(endless_model: Path) -> None:
    with Generator(endless_model) as generator:
        session = Session(GeneratorModel(generator, "model"), settings={"max_new_tokens": None})
        shown: list[str] = []

        def show(text: str) -> None:
            shown.append(text)
            if len(shown) == 20:
                os.kill(os.getpid(), signal.SIGINT)

        with interrupts_call(session.cancel) as interruption:
            result = session.ask("Hello", show)
        assert interruption.happened
        assert result.finish_reason == "cancelled"
        assert 20 <= len(result.token_ids) < 1000
        assert session.messages[-1].content == "".join(shown)
        again = session.ask("Hello", lambda _text: session.cancel())
        assert again.finish_reason == "cancelled"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_gets_through_a_long_prefill(endless_model: Path) -> None:
    with Generator(endless_model) as generator:
        session = Session(GeneratorModel(generator, "model"))
        text = "the quick brown fox " * 4000
        engine, steps = generator._engine, 0
        original = engine.advance

        def advance(*arguments: object) -> None:
            nonlocal steps
            steps += 1
            if steps == 2:
                os.kill(os.getpid(), signal.SIGINT)
            original(*arguments)  # type: ignore[arg-type]

        engine.advance = advance  # type: ignore[method-assign]
        with interrupts_call(session.cancel):
            result = session.ask(text, lambda _text: None)
        assert result.finish_reason == "cancelled"
        assert result.token_ids == ()
        assert steps == 2
        assert session.messages == []
        engine.check()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_while_the_model_loads(environment: dict[str, str]) -> None:
    script = """if True:
        import sys, time
        from genai.cli import main
        from genai.generator import Generator

        def load(*_arguments, **_options):
            print("loading", flush=True)
            time.sleep(100)

        Generator.__init__ = load
        sys.argv = ["genai", "chat", "Hello"]
        main()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"loading\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_a_single_answer(endless_model: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "genai", "chat", "Hello", "-m", endless_model, "--max-new-tokens", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")
    assert rest.endswith(b"\n")
