"""What ends a request early: time, regular expressions, and the caller's own functions; and functions of the logits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pytest

from genai.cache import Slot
from genai.config import GenerationConfig
from genai.engine import Engine, EnginePool, GenerationStream
from genai.errors import GenerationError, OptionError
from genai.model import Span, StepOutput
from tests.engine.test_engine import PROMPT, request, run
from tests.fakes import FakeModel


def test_a_request_ends_with_what_it_has_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    model = FakeModel()
    engine = Engine(model)
    timed, free = request(max_new_tokens=None, max_time=2.0), request(max_new_tokens=10)
    now = 150.0  # what passes before the submission does not count
    engine.submit(timed)
    engine.submit(free)
    for _ in range(5):
        engine.advance()
    now = 152.0
    engine.advance()
    engine.check()
    assert timed.result is not None
    assert timed.result.finish_reason == "length"
    assert list(timed.result.token_ids) == model.expected(PROMPT, 4)
    engine.run([free])
    assert free.result is not None
    assert list(free.result.token_ids) == model.expected(PROMPT, 10)


def test_a_request_that_waits_ends_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    engine = Engine(FakeModel(max_batch=1))
    first, second = request(max_new_tokens=30), request(max_time=1.0)
    engine.submit(first)
    engine.submit(second)
    engine.advance()
    now = 1.5
    engine.advance()
    assert second.result is not None
    assert (second.result.token_ids, second.result.finish_reason) == ((), "length")


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}])
def test_a_result_tells_which_text_has_ended_it(options: dict[str, Any]) -> None:
    every = [chr(code) for code in range(128)]
    stopped, free = request(stop=every, **options), request(max_new_tokens=3, stop="\0\0", **options)
    engine = Engine(FakeModel(vocab_size=128))
    for result in run(engine, stopped):
        for each in result.choices or (result,):
            assert (each.finish_reason, each.stop_text) == ("stop", chr(each.token_ids[-1]))
    for result in run(engine, free):
        assert [each.stop_text for each in (result, *result.choices)] == [None] * (1 + len(result.choices))


@pytest.mark.parametrize("options", [{}, {"stream": True}, {"num_beams": 2}])
def test_a_regular_expression_ends_and_cuts(options: dict[str, Any]) -> None:
    text = run(
        Engine(FakeModel(vocab_size=128)), request(max_new_tokens=40, num_beams=options.get("num_beams", 1))
    )[0].text
    target = next(c for c in text[5:] if c.isalpha() and text.index(c) >= 5)
    each = request(max_new_tokens=40, stop_regex=rf"(?i){target}", **options)
    (result,) = run(Engine(FakeModel(vocab_size=128)), each)
    cut = text.lower().index(target.lower())
    assert result.finish_reason == "stop"
    if "num_beams" not in options:  # beams that end early may win
        assert result.text == text[:cut]
        assert len(result.token_ids) == cut + 1
        assert result.stop_text == text[cut]
    assert target.lower() not in result.text.lower()
    if options.get("stream"):
        assert "".join(piece.text for piece in each.pieces) == result.text


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}])
def test_a_criterion_ends_a_sequence(options: dict[str, Any]) -> None:
    seen = []

    def has_five(token_ids: np.ndarray) -> bool:
        seen.append(token_ids.tolist())
        return len(token_ids) == len(PROMPT) + 5

    (result,) = run(Engine(FakeModel()), request(max_new_tokens=20, stopping_criteria=has_five, **options))
    assert result.finish_reason == "stop"
    assert len(result.token_ids) == 5
    assert all(tokens[: len(PROMPT)] == PROMPT for tokens in seen)


def test_functions_change_the_logits() -> None:
    def only_after_the_last(token_ids: np.ndarray, logits: np.ndarray) -> np.ndarray:
        assert not token_ids.flags.writeable
        changed = np.full_like(logits, -np.inf)
        changed[(token_ids[-1] + 1) % logits.size] = 0
        return changed

    def doubled(token_ids: np.ndarray, logits: np.ndarray) -> list[float]:
        return (2 * logits).tolist()

    for options in ({}, {"temperature": 0.7}, {"num_beams": 2}):
        (result,) = run(
            Engine(FakeModel()), request(logits_processors=[only_after_the_last, doubled], **options)
        )
        assert result.token_ids == (4, 5, 6, 7, 8, 9, 10, 11)


def _fail(*arguments: Any) -> Any:
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logits_processors": _fail}, r"logits_processors: _fail failed: KeyError\('mine'\)"),
        (
            {"logits_processors": lambda ids, logits: logits[:3]},
            r"must return logits of shape \(300,\), not \(3,\)",
        ),
        ({"stopping_criteria": [_fail]}, r"stopping_criteria: _fail failed: KeyError\('mine'\)"),
        ({"stopping_criteria": [_fail], "num_beams": 2}, "stopping_criteria: _fail failed"),
    ],
)
def test_a_function_that_fails_ends_its_own_request_alone(options: dict[str, Any], message: str) -> None:
    model = FakeModel()
    engine = Engine(model)
    good, bad = request(), request([9], **options)
    engine.submit(good)
    engine.submit(bad)
    while engine.has_work:
        engine.advance()
        engine.check()
    assert good.result is not None
    assert list(good.result.token_ids) == model.expected(PROMPT, 8)
    with pytest.raises(GenerationError, match=message):
        raise bad.error or AssertionError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_regex": "a("}, "stop_regex 'a\\(' is no regular expression"),
        ({"stop_regex": ["a*"]}, "matches the empty text"),
        ({"max_time": 0}, "max_time must be a number > 0 or None"),
        ({"logits_processors": "lower"}, "logits_processors must be functions"),
        ({"stopping_criteria": [3]}, "stopping_criteria must be functions"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GenerationConfig(**options)


def test_no_file_holds_functions() -> None:
    config = GenerationConfig.from_dict({"stopping_criteria": ["os.abort"], "logits_processors": [1]})
    assert config.stopping_criteria == config.logits_processors == ()


class ReadingModel(FakeModel):
    """A model that is asked something in the middle of the run that reads a prompt of this length, once."""

    def __init__(self, length: int, ask: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._length = length
        self._ask: Callable[[], None] | None = ask
        self.num_given_up = 0
        self.was_given_up = threading.Event()

    def run(self, batch: Sequence[Span]) -> StepOutput:
        if self._ask is not None and any(len(span.token_ids) == self._length for span in batch):
            ask, self._ask = self._ask, None
            ask()
        return super().run(batch)

    def give_up(self, slots: Collection[Slot]) -> None:
        super().give_up(slots)
        self.num_given_up += len(slots)
        self.was_given_up.set()


LONG = list(range(40))


@pytest.mark.parametrize("way", ["soon", "stream", "dropped", "from another thread"])
def test_a_prompt_that_is_cancelled_while_it_is_read_is_read_no_further(way: str) -> None:
    def cancel() -> None:
        if way == "soon":
            engine.cancel_soon(reading)
        elif way == "stream":
            streams[0].cancel()
        elif way == "dropped":
            del streams[0]
        else:
            thread = threading.Thread(target=engine.cancel, args=(reading,))  # which waits for the step
            thread.start()
            threads.append(thread)
            assert model.was_given_up.wait(10)

    model = ReadingModel(len(LONG) - 1, cancel, context_length=200)
    engine, threads = Engine(model), list[threading.Thread]()
    pool = EnginePool([engine])
    decoding, reading = request(max_new_tokens=12), request(LONG, stream=True)
    pool.submit(decoding)
    for _ in range(3):
        engine.advance()
    pool.submit(reading)
    streams = [GenerationStream(pool, reading)]
    model.runs.clear()
    engine.advance()
    assert model.runs == [("decode", 1)]  # the other row went on in the same step
    for thread in threads:
        thread.join()
    engine.check()
    engine.run([decoding, reading])
    assert decoding.result is not None
    assert list(decoding.result.token_ids) == model.expected(PROMPT, 12)
    assert reading.result is not None
    assert (reading.result.token_ids, reading.result.finish_reason) == ((), "cancelled")
    (again,) = run(engine, request(LONG))
    assert list(again.token_ids) == model.expected(LONG, 8)


@pytest.mark.parametrize("has_state", [False, True])
def test_a_prompt_whose_time_runs_out_while_it_is_read_is_read_no_further(has_state: bool) -> None:
    model = ReadingModel(
        len(LONG) - 1, lambda: model.was_given_up.wait(10), context_length=200, has_state=has_state
    )
    engine = Engine(model)
    (result,) = run(engine, request(LONG, max_time=0.05))
    assert (result.token_ids, result.finish_reason) == ((), "length")
    assert model.num_given_up == 1
    assert model.runs == []
    (again,) = run(engine, request(LONG))
    assert list(again.token_ids) == model.expected(LONG, 8)


def test_time_that_does_not_run_out_stops_nothing() -> None:
    model = ReadingModel(len(LONG) - 1, lambda: None, context_length=200)
    (result,) = run(Engine(model), request(LONG, max_time=1e12))
    assert list(result.token_ids) == model.expected(LONG, 8)
    assert model.num_given_up == 0


def test_a_prompt_that_has_its_log_probabilities_told_is_read_to_the_end_of_its_part() -> None:
    model = ReadingModel(len(LONG) - 1, lambda: engine.cancel_soon(scored), context_length=200)
    engine = Engine(model)
    scored = request(LONG, prompt_logprobs=0)
    (result,) = run(engine, scored)
    assert model.num_given_up == 0
    assert result.finish_reason == "cancelled"
    assert len(result.prompt_logprobs or ()) == len(LONG)
