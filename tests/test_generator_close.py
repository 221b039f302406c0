"""A closed Generator: every call raises GenerationError, and what ran ends as cancelled."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genai import GenerationError, Generator

Folders = Callable[..., tuple[Path, Path]]

ARGUMENTS: dict[str, Any] = {
    "prompt": "a",
    "text": "a",
    "messages": [{"role": "user", "content": "a"}],
    "path": "a",
    "query": "a",
    "documents": ["a"],
}
STAYS = {"close"}
CALLS = sorted(name for name in vars(Generator) if not name.startswith("_") and name not in STAYS)
ENDLESS: dict[str, Any] = {"token_ids": [5], "max_new_tokens": None, "ignore_eos": True}


@pytest.fixture
def generator(model_folder: Folders) -> Generator:
    """A generator that the test closes; its context leaves time for that."""
    folder = model_folder("llama", max_position_embeddings=100_000)[1]
    return Generator(folder, provider="cpu", num_threads=1)


async def call_or_read(generator: Generator, name: str, arguments: dict[str, Any]) -> None:
    """Read a property, or call a method with its positional arguments."""
    call = getattr(generator, name)
    parameters = inspect.signature(call).parameters.values()
    returned = call(*(arguments[each.name] for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD))
    assert inspect.iscoroutine(returned), f"{name} returned {returned!r}"
    await returned


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_after_close_raises(generator: Generator, name: str) -> None:
    arguments = {**ARGUMENTS, "request": generator.build_request("a")}
    generator.close()
    generator.close()
    with pytest.raises(GenerationError, match="this Generator was closed"):
        await call_or_read(generator, name, arguments)


def test_a_stream_that_was_open_ends_as_cancelled(generator: Generator) -> None:
    stream, unread = generator.stream(**ENDLESS), generator.stream(**ENDLESS)
    first = next(stream)
    generator.close()
    for each in (stream, unread):
        pieces = list(each)
        assert pieces[-1].finish_reason == "cancelled"
        assert each.result is not None
        assert each.result.finish_reason == "cancelled"
        each.cancel()
        each.close()
    assert stream.result is not None
    assert stream.result.token_ids[: len(first.token_ids)] == first.token_ids


async def test_what_is_awaited_ends_as_cancelled(generator: Generator) -> None:
    stream = generator.astream(**ENDLESS)
    task = asyncio.create_task(generator.agenerate(**ENDLESS))
    while len(generator._runner._submitted) < 2:  # the other is built in a thread, and comes when it is
        await anext(stream)
    await asyncio.to_thread(generator.close)
    assert [piece async for piece in stream][-1].finish_reason == "cancelled"
    assert (await task).finish_reason == "cancelled"
    await stream.aclose()


def test_what_another_thread_waits_for_ends_as_cancelled(generator: Generator) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(generator.generate(**ENDLESS)))
    stream = generator.stream(**ENDLESS)
    thread.start()
    while len(generator._runner._submitted) < 2:
        next(stream)
    generator.close()
    thread.join()
    assert [result.finish_reason for result in results] == ["cancelled"]


def test_a_closed_generator_is_not_entered(generator: Generator) -> None:
    generator.close()
    with pytest.raises(GenerationError, match="this Generator was closed"), generator:
        pass
