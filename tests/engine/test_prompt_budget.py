"""How long prompts may keep those waiting who read answers, and that all that changes is when a prompt is read."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.engine import Engine, Request
from genai.engine.prompt_budget import LEAST_TOKENS, NUM_REMEMBERED, REST_SHARE, TARGET_SECONDS, PromptBudget
from genai.model import Span, StepOutput
from tests.engine.test_engine import request, run
from tests.fakes import FakeModel

STEP = 0.05


class TimedModel(FakeModel):
    """A model on a clock of its own, on which a step takes `STEP` and each token of a prompt some time more."""

    def __init__(self, token_seconds: float, **options: Any) -> None:
        super().__init__(context_length=4000, **options)
        self.token_seconds = token_seconds
        self.now = 0.0
        self.chunks: list[tuple[int, bool]] = []
        self.prompt_chunk = 256

    def run(self, batch: Sequence[Span]) -> StepOutput:
        num_read = sum(len(span.token_ids) for span in batch if not span.num_logits)
        num_rows = sum(span.num_logits for span in batch)
        if num_read:
            self.chunks.append((num_read, num_rows > 0))
        self.now += num_read * self.token_seconds + STEP * (num_rows > 0)
        return super().run(batch)


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes models whose clock is everybody's."""

    def make(token_seconds: float, **options: Any) -> TimedModel:
        model = TimedModel(token_seconds, **options)
        monkeypatch.setattr(time, "perf_counter", lambda: model.now)
        return model

    return make


def gaps_of(engine: Engine, model: TimedModel, each: Request) -> list[float]:
    """Run until a stream has ended; return the seconds between its pieces."""
    came: list[float] = []
    while not each.is_finished:
        engine.advance()
        engine.check()
        came += [model.now] * len(each.pieces)
        each.pieces.clear()
    return [after - before for before, after in itertools.pairwise(came)]


@pytest.mark.parametrize("token_seconds", [1e-5, 4e-4, 1e-3, 4e-3, 2e-2])
@pytest.mark.parametrize("lengths", [(1500,), (40,) * 12, (300, 20, 700)], ids=str)
def test_a_stream_waits_no_longer_than_two_steps_and_a_chunk(
    clocked: Any, token_seconds: float, lengths: tuple[int, ...]
) -> None:
    model = clocked(token_seconds, max_batch=8, vocab_size=128)  # in which each token is a character
    engine = Engine(model)
    reading = request([1, 2, 3], stream=True, max_new_tokens=60, speculative="off")
    engine.submit(reading)
    for _ in range(5):
        engine.advance()
    prompts = [[(7 * i + j) % 120 for j in range(length)] for i, length in enumerate(lengths)]
    others = [request(prompt, max_new_tokens=2, speculative="off") for prompt in prompts]
    for each in others:
        engine.submit(each)
    chunk = max(TARGET_SECONDS, (1 + REST_SHARE) * LEAST_TOKENS * token_seconds)
    assert max(gaps_of(engine, model, reading)) <= 2 * STEP + chunk + 1e-9
    assert reading.result is not None
    assert list(reading.result.token_ids) == model.expected([1, 2, 3], 60)
    engine.run(others)
    for each, prompt in zip(others, prompts, strict=True):
        assert each.result is not None
        assert list(each.result.token_ids) == model.expected(prompt, 2)


@pytest.mark.parametrize(
    ("token_seconds", "size"), [(1e-4, 256), (8e-4, 128), (2e-3, 64), (1.0, 64)], ids=str
)
def test_a_chunk_beside_rows_is_as_large_as_the_machine_is_fast(
    clocked: Any, token_seconds: float, size: int
) -> None:
    model = clocked(token_seconds)
    engine = Engine(model)
    engine.submit(request([1, 2], max_new_tokens=200, speculative="off"))
    for _ in range(3):
        engine.advance()
    model.chunks.clear()
    long = request([i % 200 for i in range(2001)], max_new_tokens=1)
    engine.submit(long)
    engine.run([long])
    assert all(is_beside for _, is_beside in model.chunks)
    counts = [count for count, _ in model.chunks]
    assert counts[0] == LEAST_TOKENS  # before anything is known
    assert counts[2:-1] == [size] * len(counts[2:-1])
    assert sum(counts) == 2000


def test_a_prompt_that_nobody_waits_beside_is_read_in_the_largest_chunks(clocked: Any) -> None:
    model = clocked(1.0)
    run(Engine(model), request([i % 200 for i in range(1000)], max_new_tokens=2))
    assert model.chunks == [(256, False), (256, False), (256, False), (231, False)]


def test_a_prompt_is_cut_at_multiples_of_the_chunks_wherever_it_begins(clocked: Any) -> None:
    model = clocked(1e-5)
    engine = Engine(model)
    prompt = [i % 200 for i in range(1000)]
    run(engine, request(prompt[:100], max_new_tokens=1))
    model.chunks.clear()
    run(engine, request(prompt, max_new_tokens=1))
    assert model.chunks == [
        (156, False),
        (256, False),
        (256, False),
        (231, False),
    ]  # the first 100 were cached
    model.chunks.clear()
    run(engine, request([*prompt[:1000], *range(200, 300)], max_new_tokens=1))
    assert model.chunks == [(99, False)]  # it fits into one


@pytest.mark.parametrize(("length", "last"), [(512 + 64, 320), (512 + 65, 65)])
def test_a_small_rest_runs_along(clocked: Any, length: int, last: int) -> None:
    model = clocked(1e-5)
    run(Engine(model), request([i % 200 for i in range(length + 1)], max_new_tokens=1))
    assert model.chunks[-1] == (last, False)
    assert sum(count for count, _ in model.chunks) == length
    model.chunks.clear()
    run(Engine(model, prefill_chunk=256), request([i % 150 for i in range(length + 1)], max_new_tokens=1))
    assert model.chunks[-1] == (length - 512, False)  # who says how large they are gets them so


def test_the_size_follows_a_machine_that_becomes_slower_but_no_single_pause() -> None:
    budget = PromptBudget(512)
    for _ in range(NUM_REMEMBERED):
        budget.note(256, 0, 0.05)
    assert budget.max_tokens(is_decoding=True) == 512
    budget.note(256, 0, 10.0)
    assert budget.max_tokens(is_decoding=True) == 512
    for _ in range(NUM_REMEMBERED // 2):
        budget.note(256, 0, 0.25)
    assert budget.max_tokens(is_decoding=True) == 128
    assert budget.max_tokens(is_decoding=False) == 512


def test_what_rows_take_beside_a_chunk_is_not_the_chunks() -> None:
    budget = PromptBudget(256)
    budget.note(0, 4, 1.0)
    budget.note(128, 4, 1.05)
    assert budget.max_tokens(is_decoding=True) == 256


@given(st.integers(1, 2000), st.lists(st.tuples(st.integers(1, 500), st.integers(0, 3), st.floats(0, 100))))
def test_any_measurements_give_one_of_few_sizes(largest: int, steps: list[tuple[int, int, float]]) -> None:
    budget = PromptBudget(largest)
    for step in steps:
        budget.note(*step)
    size = budget.max_tokens(is_decoding=True)
    assert size in {largest >> shift for shift in range(12)}
    assert min(largest, LEAST_TOKENS) <= size <= largest
    assert PromptBudget(largest, is_fixed=True).max_tokens(is_decoding=True) == largest


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize(("token_seconds", "length"), [(1e-5, 700), (1e-3, 700), (1e-2, 700), (1e-3, 1700)])
def test_a_beginning_that_32_requests_have_in_common_is_read_once(
    clocked: Any, token_seconds: float, length: int, has_state: bool
) -> None:
    model = clocked(token_seconds, max_batch=8, has_state=has_state)
    engine = Engine(model)
    beside = request([1, 2], max_new_tokens=300, speculative="off")
    engine.submit(beside)
    for _ in range(3):
        engine.advance()
    model.chunks.clear()
    common = [i % 250 for i in range(length)]
    requests = [
        request(
            [*common, 251 + i, i], max_new_tokens=2, speculative="off", client="ab"[i % 2], priority=-(i % 3)
        )
        for i in range(32)
    ]
    run(engine, *requests[:20])
    run(engine, *requests[20:])
    for each in requests:
        assert each.result is not None
        assert list(each.result.token_ids) == model.expected(each.prompt_token_ids, 2)
    num_common = len(common) * (
        2 if has_state else 1
    )  # where states cannot be cut back, the second prompt reads it, too
    assert sum(count for count, _ in model.chunks) <= num_common + 2 * len(requests)


def test_what_a_more_urgent_request_reads_of_a_common_beginning_is_not_read_again(clocked: Any) -> None:
    model = clocked(1e-3)
    engine = Engine(model)
    common = [i % 250 for i in range(1000)]
    early, urgent = request([*common, 251, 252]), request([*common, 253, 254], priority=-1)
    engine.submit(early)
    engine.advance()
    engine.submit(urgent)
    engine.run([early, urgent])
    assert sum(count for count, _ in model.chunks) <= len(common) + 4
    for each in (early, urgent):
        assert each.result is not None
        assert list(each.result.token_ids) == model.expected(each.prompt_token_ids, 8)
    assert (early.cached_prompt_tokens, urgent.cached_prompt_tokens) == (744, 256)
