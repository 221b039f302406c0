"""Who of those that wait goes next: priorities, fair shares, and the order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.engine.fairness import GENERATED_COST
from tests.fakes import ByteTokenizer, FakeModel

NUM_NEW = 4


def request(
    prompt: Sequence[int], *, client: str | None = None, priority: int = 0, num_new: int = NUM_NEW
) -> Request:
    config = GenerationConfig(max_new_tokens=num_new)
    return Request(prompt, config, tokenizer=ByteTokenizer(), client=client, priority=priority)


def ends(engine: Engine, requests: Sequence[Request]) -> list[int]:
    """Run requests that were submitted; return their places in the list, in the order in which they ended."""
    order: list[int] = []
    while engine.has_work:
        engine.advance()
        engine.check()
        order += [i for i, each in enumerate(requests) if each.is_finished and i not in order]
    return order


def submit_all(engine: Engine, requests: Sequence[Request]) -> None:
    for each in requests:
        engine.submit(each)


@given(st.lists(st.sampled_from([3, 1, 9]), min_size=1, max_size=12))
def test_one_client_is_served_in_order_of_arrival(num_new: list[int]) -> None:
    engine = Engine(FakeModel(max_batch=1))
    requests = [request([i, 1], client="a", num_new=count) for i, count in enumerate(num_new)]
    submit_all(engine, requests)
    assert ends(engine, requests) == list(range(len(requests)))


def test_the_lower_priority_goes_first_whenever_it_comes() -> None:
    engine = Engine(FakeModel(max_batch=1))
    priorities = [5, 5, -1, 0, 5, -1]
    requests = [request([i, 1], priority=priority) for i, priority in enumerate(priorities)]
    engine.submit(requests[0])
    engine.advance()  # it runs by now, and is not taken out
    submit_all(engine, requests[1:])
    assert ends(engine, requests) == [0, 2, 5, 3, 1, 4]


def test_the_least_important_gives_way_and_waits_for_all_that_are_more_important() -> None:
    shape = FakeModel(context_length=2000).cache.shape
    model = FakeModel(context_length=2000, max_bytes=shape.num_bytes(2, 300))
    engine = Engine(model)
    unimportant, important = request([1, 2], priority=1, num_new=400), request([3, 4], num_new=500)
    waiting = request([5, 6], priority=0, num_new=400)
    requests = [unimportant, important, waiting]
    engine.submit(unimportant)
    for _ in range(3):
        engine.advance()
    submit_all(engine, [important, waiting])
    order = ends(engine, requests)
    assert important.num_preemptions == 0
    assert unimportant.num_preemptions > 0
    assert order == [1, 2, 0]
    for each in requests:
        assert each.result is not None
        expected = model.expected(each.prompt_token_ids, each.config.max_new_tokens or 0)
        assert list(each.result.token_ids) == expected


def test_of_one_priority_who_gave_way_goes_on_before_those_who_have_not_begun() -> None:
    engine = Engine(FakeModel(max_batch=1))
    requests = [request([i, 1], priority=priority) for i, priority in enumerate([0, 0, -1, 0])]
    engine.submit(requests[0])
    for _ in range(2):
        engine.advance()
    submit_all(engine, requests[1:])
    engine._scheduler._preempt(engine._scheduler.running[0])
    assert ends(engine, requests) == [2, 0, 1, 3]


def test_a_prompt_of_a_lower_priority_waits_for_one_of_a_higher() -> None:
    model = FakeModel(context_length=200)
    engine = Engine(model, prefill_chunk=10)
    late, early = request([5] * 100, priority=1), request([6] * 100)
    engine.submit(late)
    engine.advance()
    engine.submit(early)
    assert ends(engine, [late, early]) == [1, 0]


def test_a_thousand_requests_of_one_client_do_not_keep_another_waiting() -> None:
    engine = Engine(FakeModel(max_batch=1))
    many = [request([i % 200, i // 200], client="many") for i in range(1000)]
    one = request([7, 8, 9], client="one")
    submit_all(engine, many)
    while not many[99].is_finished:
        engine.advance()
    engine.submit(one)
    while not one.is_finished:
        engine.advance()
    assert sum(each.is_finished for each in many) <= 102  # the one that ran, and at most one more


def cost(each: Request) -> int:
    assert each.result is not None
    stats = each.result.stats
    return stats.prompt_tokens - 1 - stats.cached_prompt_tokens + GENERATED_COST * stats.generated_tokens


@pytest.mark.parametrize("max_batch", [1, 3])
@pytest.mark.parametrize("sizes", [(2, 20), (20, 2), (7, 7)], ids=str)
def test_two_clients_get_equal_shares_whatever_they_ask_for(max_batch: int, sizes: tuple[int, int]) -> None:
    engine = Engine(FakeModel(max_batch=max_batch, context_length=100))
    requests = {
        client: [
            request([first + i % 100, *[first] * size], client=client, num_new=size)
            for i in range(10 * 22 // size)
        ]
        for client, first, size in (("a", 0, sizes[0]), ("b", 100, sizes[1]))
    }
    for both in zip(*requests.values(), strict=False):  # as far as both go: then what the longer has left
        submit_all(engine, both)
    shorter = min(map(len, requests.values()))
    for each in requests.values():
        submit_all(engine, each[shorter:])
    largest = (1 + GENERATED_COST) * max(sizes) + 1
    waiting = engine._scheduler.waiting
    engine.advance()
    while len(waiting._lines) == 2:  # both have something waiting
        engine.advance()
        served = [sum(cost(each) for each in mine if each.is_finished) for mine in requests.values()]
        assert abs(served[0] - served[1]) <= 2 * max_batch * largest
    waiting.service.count()
    served = [waiting.service.served(client) for client in requests]
    assert abs(served[0] - served[1]) <= max_batch * largest
    assert min(served) > 4 * largest


def test_a_step_that_fails_counts_nothing_twice_and_forgets_nothing() -> None:
    model = FakeModel(max_batch=1)
    engine = Engine(model)
    service = engine._scheduler.waiting.service
    gave_way = request([1, 2, 3], client="a", num_new=8)
    failed = request([4, 5], client="b", priority=-1, num_new=8)
    engine.submit(gave_way)
    for _ in range(3):
        engine.advance()
    engine._scheduler._preempt(engine._scheduler.running[0])
    engine.submit(failed)
    engine.advance()
    begun_at = service.served("b")
    for _ in range(2):
        engine.advance()
    num_generated = len(engine._scheduler.running[0].sequences[0].token_ids)
    model.fail_next = True
    with pytest.raises(KeyboardInterrupt):
        engine.advance()
    assert failed.error is not None
    assert service.served("b") == begun_at + GENERATED_COST * num_generated
    ends(engine, [gave_way])
    assert service.served("a") == cost(gave_way)
    assert not service._num_counted


def test_what_an_interrupt_left_both_running_and_waiting_is_taken_out_of_both() -> None:
    engine = Engine(FakeModel())
    each, other = request([1, 2]), request([3, 4])
    submit_all(engine, [each, other])
    engine.advance()
    scheduler = engine._scheduler
    scheduler.waiting.put_back(scheduler.running[0])  # as far as `_preempt` came
    assert scheduler.abandon() == [each, other]
    assert not scheduler.waiting


def test_whoever_was_idle_has_saved_up_nothing() -> None:
    engine = Engine(FakeModel(max_batch=1))
    steady = [request([i % 200, i // 200], client="steady") for i in range(60)]
    submit_all(engine, steady)
    while not steady[29].is_finished:
        engine.advance()
    burst = [request([200 + i, 1], client="burst") for i in range(30)]
    submit_all(engine, burst)
    while not burst[9].is_finished:
        engine.advance()
    assert sum(each.is_finished for each in steady) >= 30 + 9  # in turns from the beginning


def test_clients_that_come_and_go_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai.engine.fairness.MAX_IDLE", 10)
    engine = Engine(FakeModel(max_batch=1))
    for i in range(50):
        submit_all(engine, [request([i, j], client=f"{i}") for j in (1, 2)])
        ends(engine, [])
    assert len(engine._scheduler.waiting.service._served) <= 11
    assert not engine._scheduler.waiting.service._num_counted


@pytest.mark.parametrize("num_steps", [0, 2, 5])
def test_what_is_cancelled_leaves_its_line(num_steps: int) -> None:
    model = FakeModel(max_batch=1)
    engine = Engine(model)
    requests = [request([i, 1], client=f"{i % 2}", priority=i % 3) for i in range(8)]
    submit_all(engine, requests)
    for _ in range(num_steps):
        engine.advance()
    for each in requests[::2]:
        engine.cancel(each)
        engine.check()
    ends(engine, requests)
    assert not engine._scheduler.waiting
    assert len(engine._scheduler.waiting) == 0
    for each in requests[1::2]:
        assert each.result is not None
        assert list(each.result.token_ids) == model.expected(each.prompt_token_ids, NUM_NEW)


def test_an_interrupt_while_requests_are_lined_up_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(max_batch=1)
    engine = Engine(model)
    requests = [request([i, 1], client=f"{i % 2}") for i in range(6)]
    submit_all(engine, requests)
    join: Any = engine._scheduler.waiting.service.join

    def interrupted(client: str | None, waiting: Any) -> None:
        monkeypatch.undo()
        join(client, waiting)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._scheduler.waiting.service, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.advance()
    ends(engine, requests)
    assert all(each.result is not None for each in requests)
