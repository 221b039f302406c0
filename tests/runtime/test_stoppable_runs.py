"""Runs of prompts that are given up while ONNX Runtime computes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from genai.cache import Slot
from genai.errors import GenerationError
from genai.folder import ModelFolder
from genai.model import Span
from genai.runtime import Decoder
from genai.runtime.binding import run
from genai.runtime.ort import ort_state
from tests.spans import decode, prefill

LONG = [3 + i % 90 for i in range(4000)]
SHORT = [5, 6, 7, 8]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def decoder(request: pytest.FixtureRequest, model_folder: Callable[..., tuple[Path, Path]]) -> Decoder:
    """Return a model that reads prompts by its only graph, or by one of its own."""
    folder = ModelFolder.load(model_folder("llama", precision=request.param, max_position_embeddings=8000)[1])
    decoder = Decoder(folder, optimize_for="speed", num_threads=1)
    assert (decoder._prompts is decoder._session) == (request.param == "fp32")
    return decoder


@pytest.fixture(autouse=True)
def _empty_cache(decoder: Decoder) -> None:
    decoder.cache.reset()


def slot_for(decoder: Decoder, prompt: Sequence[int]) -> Slot:
    slot = decoder.cache.acquire(list(prompt))
    assert slot is not None
    assert decoder.cache.reserve(len(LONG) + 10)
    return slot


def giving_up(decoder: Decoder, slots: Sequence[Slot]) -> threading.Thread:
    """Start a thread that gives slots up as soon as a run of prompts has begun."""

    def give_up() -> None:
        while decoder._stoppable._current is None:
            pass
        decoder.give_up(slots)

    thread = threading.Thread(target=give_up)
    thread.start()
    return thread


def alone(decoder: Decoder, *chunks: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the logits behind a prompt of which nothing was given up, read in these chunks."""
    decoder.cache.reset()
    slot = slot_for(decoder, SHORT)
    for chunk in chunks[:-1]:
        prefill(decoder, slot, chunk)
    return decode(decoder, chunks[-1]).copy()


def test_a_long_prompt_that_nobody_wants_ends_early_and_leaves_a_sound_slot(decoder: Decoder) -> None:
    slot = slot_for(decoder, LONG)
    prefill(decoder, slot, SHORT[:2])
    thread = giving_up(decoder, [slot])
    prefill(decoder, slot, LONG)
    thread.join()
    assert slot.token_ids == SHORT[:2]
    prefill(decoder, slot, SHORT[2:-1])
    ours = decode(decoder, [SHORT[-1]]).copy()
    np.testing.assert_array_equal(ours, alone(decoder, SHORT[:2], SHORT[2:-1], SHORT[-1:]))


def test_rows_that_decode_beside_it_go_on(decoder: Decoder) -> None:
    decoding = slot_for(decoder, SHORT)
    prefill(decoder, decoding, SHORT[:-1])
    reading = slot_for(decoder, LONG)
    thread = giving_up(decoder, [reading])
    output = decoder.run([Span(reading, LONG), Span(decoding, SHORT[-1:], 1)])
    ours = output.logits_of(1, 1).copy()
    thread.join()
    assert (reading.token_ids, decoding.token_ids) == ([], SHORT)
    np.testing.assert_array_equal(ours, alone(decoder, SHORT[:-1], SHORT[-1:]))


def test_a_run_that_others_want_goes_on(decoder: Decoder) -> None:
    first, second = (slot_for(decoder, prompt) for prompt in ([5, 6], [7, 8]))
    decoder.give_up([first])
    decoder.run([Span(first, SHORT), Span(second, SHORT)])
    assert first.token_ids == second.token_ids == SHORT
    decoder.run([Span(first, SHORT)])  # and what was given up is wanted again from the next batch on
    assert first.token_ids == SHORT * 2


def test_what_is_given_up_before_it_begins_does_not_run(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = slot_for(decoder, SHORT)
    decoder.give_up([slot])
    with monkeypatch.context() as patch:
        patch.setattr("genai.runtime.stoppable_runs.run", lambda _: pytest.fail("it ran"))
        prefill(decoder, slot, SHORT)
    assert slot.token_ids == []


def test_of_several_who_give_up_at_once_none_undoes_what_another_said(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (slot_for(decoder, prompt) for prompt in ([5, 6], [7, 8]))

    def one_amid_the_other() -> Iterator[Slot]:
        decoder.give_up([first, second])
        yield first

    def give_up_and_run(binding: Any) -> None:
        decoder.give_up(one_amid_the_other())  # type: ignore[arg-type]
        run(binding)

    with monkeypatch.context() as patch:
        patch.setattr("genai.runtime.stoppable_runs.run", give_up_and_run)
        decoder.run([Span(first, SHORT), Span(second, SHORT)])
    assert first.token_ids == second.token_ids == []


def test_a_failure_of_a_run_that_is_given_up_is_a_failure(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = slot_for(decoder, SHORT)

    def fail(_: Any) -> None:
        decoder.give_up([slot])
        raise GenerationError("the device is gone") from ort_state.Fail("the device is gone")

    with monkeypatch.context() as patch:
        patch.setattr("genai.runtime.stoppable_runs.run", fail)
        with pytest.raises(GenerationError, match="the device is gone"):
            prefill(decoder, slot, SHORT)
