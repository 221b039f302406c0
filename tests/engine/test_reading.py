"""What reads a text without continuing it: in chunks, between the steps of what runs, and never from within one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from genai.engine import Engine, EnginePool
from genai.engine.turn import Turn
from genai.errors import GenerationError, OptionError
from genai.model import Span
from tests.engine.test_engine import PROMPT, request, run
from tests.fakes import FakeModel

TEXT = [index * 7 % 90 for index in range(60)]


def watch(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Return the lengths of the spans of every run from now on."""
    lengths: list[list[int]] = []
    run_model = model.run

    def run_watched(batch: Sequence[Span]) -> Any:
        lengths.append([len(span.token_ids) for span in batch])
        return run_model(batch)

    monkeypatch.setattr(model, "run", run_watched)
    return lengths


@pytest.mark.parametrize("has_state", [False, True])
def test_a_long_context_is_read_in_chunks_between_the_steps_of_what_runs(
    has_state: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeModel(context_length=200, has_state=has_state)
    engine = Engine(model, prefill_chunk=10)
    expected = Engine(FakeModel(context_length=200, has_state=has_state)).score(TEXT)[-3:]
    decoding = request(max_new_tokens=30)
    engine.submit(decoding)
    engine.advance()
    lengths = watch(model, monkeypatch)
    np.testing.assert_array_equal(engine.score(TEXT, num_logits=3), expected)
    engine.check()
    assert lengths == [*[[10], [1]] * 5, [7], [3]]
    lengths.clear()
    engine.score(TEXT, num_logits=1)
    assert lengths[-1] == [1]
    if not has_state:
        assert lengths == [[1]]  # nothing is computed twice
    engine.run([decoding])
    assert decoding.result is not None
    assert list(decoding.result.token_ids) == model.expected(PROMPT, 30)


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("adapter", [None, "a"])
def test_a_computed_prefix_is_what_a_request_would_have_left(has_state: bool, adapter: str | None) -> None:
    limits: dict[str, Any] = {"context_length": 200, "adapters": ("a",), "has_state": has_state}
    saving, loading = FakeModel(**limits), FakeModel(**limits)
    prefix = Engine(saving, prefill_chunk=16).compute_prefix(TEXT, adapter=adapter)
    assert list(prefix.token_ids) == TEXT
    assert prefix.key.adapter == adapter
    engine = Engine(loading)
    engine.write_prefix(prefix)
    (result,) = run(engine, request([*TEXT, 5], adapter=adapter))
    assert result.stats.cached_prompt_tokens == len(TEXT)
    assert list(result.token_ids) == loading.expected([*TEXT, 5], 8, adapter=adapter)


def test_a_prefix_is_whole_though_others_take_every_slot_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(context_length=200, max_batch=1)
    engine = Engine(model, prefill_chunk=10)
    waiting = [request([i, 1], max_new_tokens=1) for i in range(9)]
    for each in waiting:
        engine.submit(each)
    assert list(engine.compute_prefix(TEXT).token_ids) == TEXT
    engine.run(waiting)
    engine.check()


@pytest.mark.parametrize("late_at", range(3))
def test_a_text_is_read_whole_though_somebody_gives_up_late_what_its_slot_held_before(
    late_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, num_runs = FakeModel(context_length=200), 0
    run_model = model.run

    def run_given_up(batch: Sequence[Span]) -> Any:
        nonlocal num_runs
        if num_runs == late_at:
            model.give_up([span.slot for span in batch])
        num_runs += 1
        return run_model(batch)

    monkeypatch.setattr(model, "run", run_given_up)
    scores = Engine(model, prefill_chunk=20).score(TEXT, num_logits=1)
    np.testing.assert_array_equal(scores, Engine(FakeModel(context_length=200)).score(TEXT)[-1:])


def test_what_nothing_could_go_on_from_is_no_prefix() -> None:
    engine = Engine(FakeModel(context_length=len(TEXT)))
    with pytest.raises(OptionError, match="fills the context of 60 tokens"):
        engine.compute_prefix(TEXT)
    with pytest.raises(OptionError, match='no adapter "b"'):
        engine.compute_prefix(PROMPT, adapter="b")


def test_a_loaded_prefix_is_on_every_engine() -> None:
    pool = EnginePool([Engine(FakeModel()) for _ in range(3)])
    pool.write_prefix(pool.compute_prefix(TEXT[:40]))
    assert [engine.num_uncached([*TEXT[:40], 1]) for engine in pool.engines] == [1, 1, 1]
    pool.check()


def test_a_request_cannot_call_the_model_from_within_its_step() -> None:
    model = FakeModel()
    engine = Engine(model)
    inner, good = request([9]), request()

    def score(token_ids: Any) -> bool:
        engine.score(PROMPT)
        return False

    def generate(token_ids: Any) -> bool:
        engine.submit(inner)
        engine.run([inner])
        return False

    bad = [request([8], stopping_criteria=[each]) for each in (score, generate)]
    for each in (*bad, good):
        engine.submit(each)
    while engine.has_work:
        engine.advance()
        engine.check()
    for each in bad:
        assert isinstance(each.error, GenerationError)
        assert "from within a step" in str(each.error)
    for each in (inner, good):
        assert each.result is not None
        assert list(each.result.token_ids) == model.expected(each.prompt_token_ids, 8)


def test_running_a_request_that_streams_waits_for_its_end() -> None:
    model = FakeModel()
    engine = Engine(model)
    each = request(stream=True)
    engine.submit(each)
    engine.run([each])
    assert [t for piece in each.pieces for t in piece.token_ids] == model.expected(PROMPT, 8)


def test_an_interrupt_where_the_turn_was_just_taken_gives_it_back() -> None:
    turn = Turn()

    class Interrupting(threading.Condition):
        def __exit__(self, *args: Any) -> None:
            super().__exit__(*args)
            if turn.is_held_here:
                turn._changed = threading.Condition()
                raise KeyboardInterrupt

    turn._changed = Interrupting()
    with pytest.raises(KeyboardInterrupt), turn.held():
        pass
    with turn.held() as has_turn:
        assert has_turn
