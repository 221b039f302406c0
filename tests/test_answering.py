"""Requests from the wire: several prompts at once, and what becomes of the rest when one goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from genai import Generator
from genai.answering import Answering
from genai.engine import AsyncGenerationStream, Request
from genai.errors import GenerationError, OptionError
from genai.wire import read_body


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


async def test_pieces_of_several_prompts_are_their_results(generator: Generator) -> None:
    body = {"prompt": ["One", "Two", "Three"], "max_tokens": 9, "temperature": 0, "stream": True}
    answering = await Answering.begin(generator, read_body("/v1/completions", body).request)
    texts = [""] * 3
    async for number, piece in answering.pieces():
        texts[number] += piece.text
    assert texts == [result.text for result in answering.finished]
    assert texts == [
        result.text for result in generator.generate(body["prompt"], max_new_tokens=9, temperature=0)
    ]


async def test_all_begin_or_none(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[AsyncGenerationStream] = []
    submit = Generator.asubmit

    def submit_noting(generator: Generator, request: Request) -> AsyncGenerationStream:
        begun.append(submit(generator, request))
        return begun[-1]

    monkeypatch.setattr(Generator, "asubmit", submit_noting)
    body = {"prompt": ["One", [10**6]], "max_tokens": 500, "ignore_eos": True}
    with pytest.raises(OptionError, match="token ids must be"):
        await Answering.begin(generator, read_body("/v1/completions", body).request)
    (first,) = begun
    async for _ in first:
        pass
    assert first.result is not None
    assert first.result.finish_reason == "cancelled"


@pytest.mark.parametrize("kind", [GenerationError, ZeroDivisionError])
async def test_an_error_in_one_is_raised_and_ends_all(kind: type[Exception]) -> None:
    generator = Generator("demo")
    body = {"prompt": ["One", "Two"], "max_tokens": 500, "ignore_eos": True, "stream": True}
    answering = await Answering.begin(generator, read_body("/v1/completions", body).request)
    pieces = answering.pieces()
    await anext(pieces)
    for stream in answering.streams:
        stream._request.fail(kind("no luck"))
    with pytest.raises(kind, match="no luck"):
        async for _ in pieces:
            pass
    answering.cancel()
    generator.close()
