"""What a client may not reach by an option: files, code, memory without end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genai import Generator
from genai.config import CODE_OPTIONS, GenerationConfig, options_of
from genai.errors import GenaiError, OptionError
from genai.wire import INTERFACES, read_body
from tests.wire.test_odd_bodies import BODIES

BOMB = "(?:(?:(?:a{1000}){1000}){1000})b"
NOT_FIELDS = ("config", "template_options", "token_ids", "client", *CODE_OPTIONS)
"""Arguments of `build_request` that no body has."""


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


def option(endpoint: str, name: str, value: Any) -> dict[str, Any]:
    """Return a field that sets an option, which Ollama's bodies have in one of their own."""
    return {"options": {name: value}} if endpoint.startswith("/api/") else {name: value}


def ask(generator: Generator, endpoint: str, **fields: Any) -> None:
    """Do with a body what a server does, up to the model."""
    request = read_body(endpoint, {**BODIES[endpoint], **fields}).request
    for prompt in request.prompts:
        arguments = request.arguments(prompt, lambda: generator.tokenizer)
        generator.submit(generator.build_request(**arguments)).close()


@pytest.mark.parametrize("endpoint", INTERFACES)
@pytest.mark.parametrize("name", NOT_FIELDS)
def test_what_is_no_field_is_refused_by_name(generator: Generator, endpoint: str, name: str) -> None:
    for value in ("x", [1], {"a": 1}):
        with pytest.raises(OptionError) as caught:
            ask(generator, endpoint, **{name: value})
        assert caught.value.option == name


@pytest.mark.parametrize("endpoint", INTERFACES)
@pytest.mark.parametrize("name", ["speculative", "adapter", "response_format", "watermarking_config"])
def test_no_option_opens_a_file(
    generator: Generator, endpoint: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft model, an adapter, a schema: each is a name of what is there, or the thing itself."""
    path = tmp_path / "file.json"
    path.write_text("{}", "utf-8")

    ask(generator, "/v1/completions", response_format={"type": "object"})  # what that needs is loaded now

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a file was opened")

    for function in ("builtins.open", "io.open", "os.open", "pathlib.Path.open", "pathlib.Path.read_text"):
        monkeypatch.setattr(function, refuse)
    for value in (str(path), f"file://{path}", "owner/model", {"$ref": f"file://{path}"}):
        with pytest.raises(GenaiError):
            ask(generator, endpoint, **option(endpoint, name, value))


@pytest.mark.parametrize("value", ["off", "auto", "ngram"])
def test_guessing_is_chosen_by_its_words(generator: Generator, value: str) -> None:
    for endpoint in INTERFACES:
        ask(generator, endpoint, **option(endpoint, "speculative", value))
        with pytest.raises(OptionError, match="draft"):
            ask(
                generator, endpoint, **option(endpoint, "speculative", "draft")
            )  # the server's, which this one has not


@pytest.mark.parametrize(
    "fields",
    [
        {"stop_regex": BOMB},
        {"stop_regex": ["(a|b|c)" * 20_000]},
        {"stop_regex": ["a{9000}b"] * 100},
        {"num_return_sequences": 10**9, "temperature": 1},
        {"best_of": 10**9, "temperature": 1},
        {"num_beams": 10**9},
        {"top_logprobs": 10**9},
        {"samplers": ["top_k"] * 10**5},
        {"dry_sequence_breakers": ["a"] * 10**5, "dry_multiplier": 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_would_take_all_of_a_machine_is_refused_at_once(generator: Generator, fields: Any) -> None:
    begun = time.thread_time()
    with pytest.raises(OptionError):
        ask(generator, "/v1/completions", **fields)
    assert time.thread_time() - begun < 10  # seconds: it would be hours, or gigabytes


def test_every_option_that_a_client_may_send_is_plain_data() -> None:
    for name, known in options_of(GenerationConfig).items():
        takes_code = type(known.check).__name__ == "Functions"
        assert takes_code == (name in CODE_OPTIONS), name
