"""When a request came to each stage of its life, and what its figures say of that."""

from __future__ import annotations

import pytest

from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.errors import GenerationError
from tests.fakes import FakeModel


def request(first_token: int, *, num_new: int = 4) -> Request:
    return Request([first_token, 1], GenerationConfig(max_new_tokens=num_new))


def stages(each: Request) -> list[float]:
    times = each.times
    assert times.admitted is not None
    assert times.first_token is not None
    assert times.ended is not None
    return [times.submitted, times.admitted, times.first_token, times.ended]


def test_who_waits_for_a_place_is_admitted_when_the_other_has_ended() -> None:
    engine = Engine(FakeModel(max_batch=1))
    first, second = request(2), request(3)
    for each in (first, second):
        engine.submit(each)
    engine.run([first, second])
    assert stages(first) == sorted(stages(first))
    assert stages(second) == sorted(stages(second))
    assert second.times.admitted is not None
    assert first.times.ended is not None
    assert second.times.admitted >= first.times.ended
    assert second.result is not None
    stats = second.result.stats
    assert stats.queue_seconds == second.times.admitted - second.times.submitted
    assert 0 < stats.queue_seconds < stats.time_to_first_token_seconds < stats.total_seconds


def test_who_gave_way_was_admitted_once() -> None:
    engine = Engine(FakeModel())
    only = request(2)
    engine.submit(only)
    engine.advance()
    admitted = only.times.admitted
    engine._scheduler._preempt(engine._scheduler.running[0])
    engine.run([only])
    assert admitted is not None
    assert only.times.admitted == admitted


def test_who_is_cancelled_in_the_queue_has_waited_all_the_time() -> None:
    engine = Engine(FakeModel(max_batch=1))
    first, second = request(2), request(3)
    for each in (first, second):
        engine.submit(each)
    engine.advance()
    engine.cancel(second)
    assert second.result is not None
    assert second.result.finish_reason == "cancelled"
    assert (second.times.admitted, second.times.first_token) == (None, None)
    assert second.result.stats.queue_seconds == second.result.stats.total_seconds > 0
    engine.cancel(first)


def test_a_failure_is_an_end() -> None:
    failed = request(2)
    failed.fail(GenerationError("no luck"))
    assert failed.times.ended is not None
    with pytest.raises(AssertionError):
        failed.fail(GenerationError("twice"))
