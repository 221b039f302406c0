"""What ends a request early: time, regular expressions, and the caller's own functions; and functions of the logits."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from genai.config import GenerationConfig
from genai.engine import Engine
from genai.errors import GenerationError, OptionError
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
