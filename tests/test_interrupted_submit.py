"""A signal's handler that closes the Generator whose `submit` it interrupts, at any line of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import genai
from genai import GenerationError, Generator, ModelFolder
from genai.runtime import Decoder

PACKAGE = str(Path(genai.__file__).parent)
ENDLESS: dict[str, Any] = {"token_ids": [5], "max_new_tokens": None, "ignore_eos": True}
SECONDS = 60
"""After which a thread that has not ended waits for itself."""


class Interruption:
    """Calls a handler in the block's thread, before the line of genai's with this number."""

    def __init__(self, line: int, handler: Callable[[], None]) -> None:
        self._num_left = line
        self._handler = handler
        self.has_happened = False

    def __enter__(self) -> None:
        sys.settrace(self)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line" and not self.has_happened:
            self.has_happened = self._num_left == 0
            self._num_left -= 1
            if self.has_happened:
                self._handler()
        return self


Read = Callable[[Generator, Interruption], str | None]


@pytest.fixture
def make_generator(
    model_folder: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Generator]:
    """Returns new generators over one decoder, whose context leaves time to interrupt them."""
    folder = ModelFolder.load(model_folder("llama", max_position_embeddings=100_000)[1])
    decoder = Decoder(folder, provider="cpu", num_threads=1)
    monkeypatch.setattr("genai.loaded_model.Decoder", lambda *_, **__: decoder)
    return lambda: Generator(folder, provider="cpu")


def read(generator: Generator, interruption: Interruption) -> str | None:
    """Submit a request without an end, interrupted, and return how it ended."""
    request = generator.build_request(**ENDLESS)
    with interruption:
        stream = generator.submit(request)
    generator.close()
    return list(stream)[-1].finish_reason


def read_in_event_loop(generator: Generator, interruption: Interruption) -> str | None:
    """The same with `asubmit`."""

    async def read() -> str | None:
        request = generator.build_request(**ENDLESS)
        with interruption:
            stream = generator.asubmit(request)
        generator.close()
        return [piece async for piece in stream][-1].finish_reason

    return asyncio.run(read())


@pytest.mark.parametrize("read", [read, read_in_event_loop])
def test_close_interrupts_submit_anywhere(make_generator: Callable[[], Generator], read: Read) -> None:
    """What was submitted ends as cancelled, or was refused; and no call waits for itself."""
    ends: list[str | None] = []

    def interrupt_everywhere() -> None:
        interruption = None
        while interruption is None or interruption.has_happened:
            generator = make_generator()
            interruption = Interruption(len(ends), generator.close)
            try:
                ends.append(read(generator, interruption))
            except GenerationError as error:
                ends.append(str(error))

    thread = threading.Thread(target=interrupt_everywhere, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), f"line {len(ends)} waits for itself"
    assert len(ends) > 20
    assert set(ends) == {"cancelled", "this Generator was closed; make a new one"}


def test_an_interrupted_submit_leaves_nothing_behind(make_generator: Callable[[], Generator]) -> None:
    """An exception at any line, such as that of Ctrl-C: what was queued ends with the next step."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    interruption, line = None, 0
    while interruption is None or interruption.has_happened:
        generator = make_generator()
        request, interruption = generator.build_request(**ENDLESS), Interruption(line, interrupt)
        with contextlib.suppress(KeyboardInterrupt), interruption:
            generator._runner.submit([request])
        if interruption.has_happened:
            generator.generate(token_ids=[7], max_new_tokens=1)
            assert not generator._engine.has_work, line
        generator.close()
        line += 1
    assert line > 20
