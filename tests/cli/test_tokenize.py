"""`genai tokenize`: the tokens that a prompt has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from genai.config import Message
from genai.generator import Generator
from genai.text import Tokenizer
from tests.cli.conftest import Outcome

Cli = Callable[..., Outcome]
TEXTS = ("the quick fox", "naïve 🙂\ttext", "")


@pytest.mark.parametrize("text", TEXTS)
def test_the_texts_of_tokens_joined_are_the_text(cli: Cli, model: Path, text: str) -> None:
    with Generator(model) as generator:
        expected = generator.tokenize(text)
        shown = generator.tokenizer.decode(expected, skip_special_tokens=False)
    value = json.loads(cli("tokenize", text, "-m", model, "--json").stdout)
    assert [token["id"] for token in value["tokens"]] == expected
    assert "".join(token["text"] for token in value["tokens"]) == shown
    assert value["count"] == len(expected)
    assert cli("tokenize", text, "-m", model, "--count") == Outcome(0, f"{len(expected)}\n", "")


def test_a_table_for_people(cli: Cli, model: Path) -> None:
    tokenizer = Tokenizer.from_folder(model)
    header, *rows = cli("tokenize", "-", "-m", model, stdin="the\x1b quick\n").stdout.splitlines()
    assert header.split() == ["ID", "TOKEN", "TEXT"]
    ids = tokenizer.encode("the\x1b quick")
    assert [row.split()[0] for row in rows] == list(map(str, ids))
    assert not any("\x1b" in row for row in rows)


def test_a_message_in_the_models_template(cli: Cli, model: Path) -> None:
    tokenizer = Tokenizer.from_folder(model)
    value = json.loads(cli("tokenize", "the", "-m", model, "--chat", "--json").stdout)
    assert [token["id"] for token in value["tokens"]] == tokenizer.encode_chat([Message("user", "the")])
    conversation = [Message("system", "Hm."), Message("user", "the")]
    done = cli("tokenize", "the", "-m", model, "--chat", "--system", "Hm.", "--count")
    assert done.stdout == f"{len(tokenizer.encode_chat(conversation))}\n"
    assert "pass --chat too" in cli("tokenize", "the", "-m", model, "--system", "Hm.").error


def test_a_folder_needs_no_weights(cli: Cli, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.onnx*", "genai_config.json"))
    assert cli("tokenize", "the", "-m", folder, "--count") == cli("tokenize", "the", "-m", model, "--count")
    (folder / "tokenizer.json").unlink()
    done = cli("tokenize", "the", "-m", folder)
    assert done.code == 1
    assert "tokenizer" in done.error


def test_without_what_stands_before_a_text(cli: Cli, checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_folder(checkpoint)
    value = json.loads(cli("tokenize", "the", "-m", checkpoint, "--no-special", "--json").stdout)
    expected = tokenizer.encode("the", add_special_tokens=False)
    assert [token["id"] for token in value["tokens"]] == expected
    done = cli("tokenize", "the", "-m", checkpoint, "--no-special", "--chat")
    assert done.code == 2
    assert "--no-special" in done.error
