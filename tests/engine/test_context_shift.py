"""Generations that go on where the context is full, over a fake model: dropped tokens, and nothing else, are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from genai.config import GenerationConfig
from genai.engine import Engine, Request, Speculation
from genai.errors import OptionError
from tests.engine.speculation.guessing import FixedCosts
from tests.engine.test_engine import PROMPT, request, run
from tests.fakes import FakeModel, Forcing, fake_logits


def shifting(prompt: Sequence[int] = PROMPT, **options: Any) -> Request:
    return request(prompt, **{"context_policy": "shift", **options})


def expected(
    model: FakeModel, prompt: Sequence[int], count: int, *, window: int, num_sinks: int
) -> list[int]:
    """Return the greedy continuation by what a shift says it does."""
    held: list[int] = []
    ids = list(prompt)
    for position in range(len(prompt) + count - 1):
        if len(held) == window:
            del held[num_sinks : num_sinks + (window - num_sinks) // 2]
        held.append(ids[position])
        if position >= len(prompt) - 1:
            ids.append(int(fake_logits(held, [0] * len(held), model.vocab_size).argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("num_prompt", [1, 23, 24])
@pytest.mark.parametrize("num_sinks", [0, 4, 22])
def test_a_generation_goes_on_without_the_older_half(num_sinks: int, num_prompt: int) -> None:
    model = FakeModel(context_length=24)
    prompt = list(range(num_prompt))
    (result,) = run(Engine(model), shifting(prompt, num_sink_tokens=num_sinks, max_new_tokens=100))
    assert list(result.token_ids) == expected(model, prompt, 100, window=24, num_sinks=num_sinks)
    assert result.finish_reason == "length"


def test_without_a_limit_it_ends_where_the_model_ends_it() -> None:
    model = FakeModel(context_length=16)
    ids = expected(model, PROMPT, 200, window=16, num_sinks=4)
    eos = next(token_id for token_id in ids[100:] if token_id not in ids[:100])
    (result,) = run(Engine(model), shifting(max_new_tokens=None, eos=[eos]))
    assert result.finish_reason == "stop"
    assert list(result.token_ids) == ids[: ids.index(eos) + 1]


def test_memory_that_is_full_shifts_like_a_context_that_is() -> None:
    shape = FakeModel(context_length=600).cache.shape
    model = FakeModel(context_length=600, max_bytes=shape.num_bytes(1, 30))
    (result,) = run(Engine(model), shifting(max_new_tokens=90))
    assert list(result.token_ids) == expected(model, PROMPT, 90, window=30, num_sinks=4)


def test_no_prompt_goes_on_from_what_was_shifted() -> None:
    model = FakeModel(context_length=16)
    engine = Engine(model)
    run(engine, shifting(max_new_tokens=30))
    assert not any(slot.token_ids for slot in model.cache.slots)
    endless = shifting(max_new_tokens=60)
    engine.submit(endless)
    while len(endless.prompt_token_ids) + len(model.cache.slots[0].token_ids) < 30 and not any(
        slot.key.has_dropped for slot in model.cache.slots
    ):
        engine.advance()
    held = next(slot for slot in model.cache.slots if slot.key.has_dropped).token_ids
    (result,) = run(engine, request([*held[:10], 0]))
    assert list(result.token_ids) == model.expected([*held[:10], 0], len(result.token_ids))
    assert result.stats.cached_prompt_tokens == 0


def test_what_gave_way_drops_the_same_tokens_when_it_is_computed_again() -> None:
    shape = FakeModel(context_length=20).cache.shape
    model = FakeModel(context_length=20, max_bytes=shape.num_bytes(2, 20))
    old, young = request(max_new_tokens=17), shifting([5, 6], max_new_tokens=70)
    engine = Engine(model, prefill_chunk=3)
    engine.submit(young)
    for _ in range(60):
        engine.advance()
    assert model.cache.slots[0].key.has_dropped
    engine._scheduler._preempt(engine._scheduler.running[0])
    run(engine, old)
    assert young.num_preemptions == 1
    assert young.result is not None
    assert list(young.result.token_ids) == expected(model, [5, 6], 70, window=20, num_sinks=4)


def test_what_is_computed_again_beside_new_prompts_is_not_taken_for_one() -> None:
    model = FakeModel(context_length=20)
    engine = Engine(model, prefill_chunk=40)
    old, new = shifting(max_new_tokens=200), request([1, 5, 6, 4])
    engine.submit(old)
    for _ in range(180):
        engine.advance()
    engine._scheduler._preempt(engine._scheduler.running[0])
    run(engine, new)
    assert old.result is not None
    assert list(old.result.token_ids) == expected(model, PROMPT, 200, window=20, num_sinks=4)


@pytest.mark.parametrize("draft_context", [24, 70, 600])
def test_a_draft_model_guesses_as_long_as_its_own_context_lasts(draft_context: int) -> None:
    model = FakeModel(context_length=24)
    speculation = Speculation(model, FakeModel(context_length=draft_context), costs=FixedCosts())
    (result,) = run(Engine(model, speculation=speculation), shifting(max_new_tokens=100))
    assert list(result.token_ids) == expected(model, PROMPT, 100, window=24, num_sinks=4)
    assert 0 < result.stats.accepted_tokens < result.stats.drafted_tokens or draft_context == 24
    assert not speculation._drafters["draft"]._followers  # type: ignore[attr-defined]


def test_forced_tokens_fall_where_they_would_one_by_one() -> None:
    def asked() -> Request:
        config = GenerationConfig().merge(max_new_tokens=60, context_policy="shift", num_sink_tokens=1)
        return Request(PROMPT, config, make_constraint=lambda: Forcing(7))

    (together,) = run(Engine(FakeModel(context_length=16)), asked())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genai.engine.strategies.sampling.MAX_FORCED_TOKENS", 0)
        (slow,) = run(Engine(FakeModel(context_length=16)), asked())
    assert together.token_ids == slow.token_ids
    assert together.token_ids[8:14] == (8, 9, 10, 11, 12, 13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2}, "context_policy.*num_beams"),
        ({"context_policy": "stop", "num_sink_tokens": 3}, "num_sink_tokens means nothing"),
        ({"context_policy": "truncate_turns", "num_sink_tokens": 3}, "num_sink_tokens says what"),
        ({"num_sink_tokens": 15}, "at most 14, not 15"),
        ({"num_sink_tokens": -1}, "num_sink_tokens must be"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Engine(FakeModel(context_length=16)).submit(shifting(**options))


def test_a_prompt_must_fit() -> None:
    shape = FakeModel(context_length=600).cache.shape
    with pytest.raises(OptionError, match="the context holds 16"):
        Engine(FakeModel(context_length=16)).submit(shifting([1] * 17))
    with pytest.raises(OptionError, match="kv_cache_bytes has room for 30"):
        Engine(FakeModel(context_length=600, max_bytes=shape.num_bytes(1, 30))).submit(shifting([1] * 31))


@pytest.mark.parametrize("num_draws", [1, 2])
def test_forced_tokens_go_no_further_than_memory(num_draws: int) -> None:
    def asked() -> Request:
        config = GenerationConfig().merge(
            max_new_tokens=60, temperature=1.0, seed=1, num_return_sequences=num_draws
        )
        return Request(PROMPT, config, make_constraint=lambda: Forcing(7))

    shape = FakeModel(context_length=600).cache.shape
    limits = {"context_length": 600, "max_bytes": shape.num_bytes(num_draws, 21)}
    (together,) = run(Engine(FakeModel(**limits)), asked())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genai.engine.strategies.sampling.MAX_FORCED_TOKENS", 0)
        (slow,) = run(Engine(FakeModel(**limits)), asked())
    assert together.token_ids == slow.token_ids
    assert [c.token_ids for c in together.choices] == [c.token_ids for c in slow.choices]
