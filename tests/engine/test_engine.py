from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genai.config import GenerationConfig
from genai.engine import BackgroundDriver, Engine, EnginePool, GenerationResult, GenerationStream, Request
from genai.errors import GenerationError, OptionError, OutOfMemoryError
from genai.model import Span, StepOutput
from tests.fakes import ByteTokenizer, FakeModel, Forcing

PROMPT = [1, 2, 3]


def request(
    prompt: Sequence[int] = PROMPT,
    *,
    stream: bool = False,
    eos: Sequence[int] = (),
    adapter: str | None = None,
    client: str | None = None,
    priority: int = 0,
    **options: Any,
) -> Request:
    config = GenerationConfig().merge(**{"max_new_tokens": 8, **options})
    return Request(
        prompt,
        config,
        tokenizer=ByteTokenizer(),
        eos_token_ids=eos,
        stream=stream,
        adapter=adapter,
        client=client,
        priority=priority,
    )


def run(engine: Engine, *requests: Request) -> list[GenerationResult]:
    for each in requests:
        engine.submit(each)
    while engine.has_work:
        engine.advance()
        engine.check()
    for each in requests:
        if each.error is not None:
            raise each.error
    return [each.result for each in requests if each.result is not None]


def test_greedy_equals_the_model_without_a_cache() -> None:
    model = FakeModel()
    (result,) = run(Engine(model), request(max_new_tokens=20))
    assert list(result.token_ids) == model.expected(PROMPT, 20)
    assert result.finish_reason == "length"
    assert result.prompt_token_ids == (1, 2, 3)


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_chunked_prefill_equals_whole(chunk: int) -> None:
    model = FakeModel()
    prompt = list(range(20))
    (result,) = run(Engine(model, prefill_chunk=chunk), request(prompt))
    assert list(result.token_ids) == model.expected(prompt, 8)
    assert model.runs.count(("prefill", chunk)) == 19 // chunk


def test_batch_equals_alone_with_more_requests_than_slots() -> None:
    model = FakeModel(max_batch=3)
    prompts = [[i] * (1 + 5 * i) for i in range(9)]
    results = run(Engine(model), *(request(p, max_new_tokens=3 + i) for i, p in enumerate(prompts)))
    for i, (prompt, result) in enumerate(zip(prompts, results, strict=True)):
        assert list(result.token_ids) == model.expected(prompt, 3 + i)


KINDS: list[dict[str, Any]] = [
    {},
    {"num_return_sequences": 2, "temperature": 1.0, "seed": 5},
    {"num_beams": 2},
    {"no_repeat_ngram_size": 2, "logprobs": True},
    {"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 0.5, "logprobs": True},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01, "seed": 5},
    {"mirostat": 2, "mirostat_tau": 2.0, "seed": 5, "dry_multiplier": 0.8},
    {"watermarking_config": {}, "top_k": 9, "seed": 5},
    {"best_of": 2, "temperature": 1.0, "seed": 5},
    {"guidance_scale": 1.5, "negative_prompt": [2, 1, 0, 1], "logprobs": True},
    {"prompt_logprobs": 1},
    {"prompt_logprobs": 0, "num_return_sequences": 2, "temperature": 1.0, "seed": 5},
]


@pytest.fixture(scope="module")
def small_parts() -> Iterator[None]:
    """Let rows move, and snapshots be taken, at the lengths of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genai.cache.placement.MIN_MOVED", 2)
        patch.setattr("genai.cache.kv_cache.MIN_BRANCH", 2)
        yield


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_mix_of_requests_gives_each_its_own_answer(small_parts: None, data: st.DataObject) -> None:
    limits: dict[str, Any] = {
        "context_length": 600,
        "switch_length": data.draw(st.sampled_from([None, 6, 12])),
        "has_state": data.draw(st.booleans()),
        "adapters": ("a",),
    }
    shape = FakeModel(**limits).cache.shape
    if data.draw(st.booleans()):  # so little memory that requests take it from each other all the time
        limits["max_bytes"] = shape.num_bytes(2, data.draw(st.integers(8, 40)))
    model = FakeModel(max_batch=data.draw(st.integers(2, 5)), **limits)
    engine = Engine(model, prefill_chunk=data.draw(st.sampled_from([1, 2, 3, 5, 9, 40])))
    requests: list[Request] = []
    for _ in range(data.draw(st.integers(1, 8))):
        prompt = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=20))
        options = data.draw(st.sampled_from(KINDS))
        adapter = data.draw(st.sampled_from([None, None, "a"]))
        each = request(prompt, max_new_tokens=data.draw(st.integers(1, 12)), adapter=adapter, **options)
        engine.submit(each)
        requests.append(each)
        for _ in range(data.draw(st.integers(0, 6))):
            engine.advance()
            engine.check()
        if data.draw(st.integers(0, 9)) == 0:
            engine.cancel(each)
            assert each.is_finished
            engine.check()
        if len(prompt) <= model.cache.shape.capacity_for(1) and data.draw(st.integers(0, 9)) == 0:
            assert engine.score(prompt).shape == (len(prompt), model.vocab_size)
            engine.check()
    while engine.has_work:
        engine.advance()
        engine.check()
    for each in requests:
        _assert_as_alone(each, FakeModel(max_batch=model.max_batch, **limits))


def _assert_as_alone(each: Request, model: FakeModel) -> None:
    alone = Request(each.prompt_token_ids, each.config, tokenizer=ByteTokenizer(), adapter=each.adapter)
    engine = Engine(model)
    engine.submit(alone)
    engine.run([alone])
    if each.result is not None and each.result.finish_reason == "cancelled":
        expected = alone.result.token_ids[: len(each.result.token_ids)] if alone.result is not None else ()
        is_chosen_at_the_end = each.config.num_beams > 1 or each.config.best_of is not None
        assert is_chosen_at_the_end or expected == each.result.token_ids
    elif alone.result is None or each.result is None:
        assert str(each.error) == str(alone.error)
    else:
        assert each.result.token_ids == alone.result.token_ids
        assert each.result.prompt_logprobs == alone.result.prompt_logprobs
        assert each.result.finish_reason == alone.result.finish_reason
        assert [c.token_ids for c in each.result.choices] == [c.token_ids for c in alone.result.choices]


def test_the_youngest_gives_way_and_goes_on_later() -> None:
    shape = FakeModel(context_length=2000).cache.shape
    model = FakeModel(context_length=2000, max_bytes=shape.num_bytes(2, 300))
    engine = Engine(model)
    old, young = request([1, 2], max_new_tokens=500), request([3, 4], max_new_tokens=400)
    results = run(engine, old, young)
    assert (old.num_preemptions, young.num_preemptions) == (0, 1)
    assert list(results[0].token_ids) == model.expected([1, 2], 500)
    assert list(results[1].token_ids) == model.expected([3, 4], 400)
    assert results[1].finish_reason == "length"


def test_a_prefix_of_another_adapter_is_not_reused() -> None:
    model = FakeModel(adapters=("a", "b"))
    engine = Engine(model)
    adapters = ("a", "b", None)
    for cached in (0, 2):
        together = run(engine, *(request(adapter=adapter) for adapter in adapters))
        for adapter, result in zip(adapters, together, strict=True):
            assert list(result.token_ids) == model.expected(PROMPT, 8, adapter=adapter)
            assert result.stats.cached_prompt_tokens == cached
    with pytest.raises(OptionError, match='no adapter "c"; it has: a, b'):
        engine.submit(request(adapter="c"))


class Only:
    """A constraint: the tokens of a text, one after the other."""

    option = "only"
    is_done = is_waiting = False

    def __init__(self, token_ids: Sequence[int]) -> None:
        self.left = list(token_ids)

    def apply(self, logits: Any) -> None:
        logits[np.arange(len(logits)) != self.left[0]] = -np.inf

    def accept(self, token_id: int) -> None:
        assert token_id == self.left.pop(0)

    def forced_token(self) -> int | None:
        return None

    def copy(self) -> Only:
        return Only(self.left)


@pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "num_return_sequences": 2}, {"num_beams": 2}])
def test_a_constraint_masks_what_each_sequence_of_its_request_may_say(options: dict[str, Any]) -> None:
    model = FakeModel()
    config = GenerationConfig().merge(max_new_tokens=5, **options)
    constrained = Request(PROMPT, config, make_constraint=lambda: Only([7, 8, 9, 10, 11]))
    results = run(Engine(model), request(), constrained)
    assert results[0].token_ids == tuple(model.expected(PROMPT, 8))
    assert results[1].token_ids == (7, 8, 9, 10, 11)


@pytest.mark.parametrize(("period", "num_others", "longest"), [(3, 0, 3), (3, 3, 1), (5, 3, 5), (4, 3, 1)])
@pytest.mark.parametrize("options", [{}, {"speculative": "ngram"}], ids=str)
def test_forced_tokens_run_at_once_where_that_is_less_than_their_steps(
    period: int, num_others: int, longest: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(most: int) -> list[tuple[int, ...]]:
        monkeypatch.setattr("genai.engine.strategies.sampling.MAX_FORCED_TOKENS", most)
        config = GenerationConfig().merge(max_new_tokens=30, stop_token_ids=[299], **options)
        each = Request(PROMPT, config, make_constraint=lambda: Forcing(period))
        others = [request([i, 4], max_new_tokens=40, speculative="off") for i in range(num_others)]
        return [result.token_ids for result in run(Engine(model), each, *others)]

    model, lengths = FakeModel(), []
    run_model = model.run

    def run_watched(batch: Sequence[Span]) -> Any:
        lengths.extend(len(span.token_ids) for span in batch if span.num_logits == 1)
        return run_model(batch)

    one_by_one = answers(0)
    monkeypatch.setattr(model, "run", run_watched)
    assert answers(32) == one_by_one
    assert max(lengths) == longest


def test_rows_are_moved_only_when_a_hole_has_run_along_for_long_and_then_bit_by_bit() -> None:
    model = FakeModel(context_length=2000, max_batch=8)
    engine = Engine(model)
    requests = [request([i, 1], max_new_tokens=40 if i == 3 else 300) for i in range(8)]
    for each in requests:
        engine.submit(each)
    copied: list[int] = []
    while engine.has_work:
        before = model.device.num_positions
        engine.advance()
        engine.check()
        if requests[3].is_finished and not requests[7].is_finished:
            copied.append(model.device.num_positions - before)
    assert copied[:18] == [0] * 18  # 41 tokens are worth more than a few idle rows
    assert 0 < max(copied) <= 40 * len(model.cache.shape.tensors)
    assert sum(copied) < 400 * len(model.cache.shape.tensors), "every position is moved once"
    for i, each in enumerate(requests):
        assert each.result is not None
        assert list(each.result.token_ids) == model.expected([i, 1], 40 if i == 3 else 300)


def test_a_waiting_request_takes_the_hole_and_nothing_is_moved() -> None:
    model = FakeModel(context_length=500, max_batch=4)
    engine = Engine(model)
    requests = [request([i, 1], max_new_tokens=20 if i == 1 else 60) for i in range(4)]
    late = request([9, 1], max_new_tokens=10)
    for each in (*requests, late):
        engine.submit(each)
    while not requests[1].is_finished:
        engine.advance()
    before = model.device.num_positions
    while not late.is_finished:
        engine.advance()
        engine.check()
    assert model.device.num_positions == before
    run(engine)
    assert [list(each.result.token_ids) for each in (*requests, late) if each.result] == [
        *(model.expected([i, 1], 20 if i == 1 else 60) for i in range(4)),
        model.expected([9, 1], 10),
    ]


def test_a_second_turn_prefills_only_what_is_new() -> None:
    model = FakeModel()
    engine = Engine(model)
    (first,) = run(engine, request())
    second_prompt = [*PROMPT, *first.token_ids, 9, 9]
    model.runs.clear()
    (second,) = run(engine, request(second_prompt))
    assert second.stats.cached_prompt_tokens == len(PROMPT) + 7  # the last token was never run
    assert model.runs[0] == ("prefill", len(second_prompt) - 1 - second.stats.cached_prompt_tokens)
    assert list(second.token_ids) == model.expected(second_prompt, 8)


def test_a_second_turn_goes_on_from_a_state() -> None:
    model = FakeModel(has_state=True)
    engine = Engine(model)
    (first,) = run(engine, request())
    second_prompt = [*PROMPT, *first.token_ids, 9, 9]
    (second,) = run(engine, request(second_prompt))
    assert second.stats.cached_prompt_tokens == len(PROMPT) + 7
    assert list(second.token_ids) == model.expected(second_prompt, 8)


def test_a_state_that_went_further_than_the_prompt_goes_back_to_a_snapshot() -> None:
    model = FakeModel(has_state=True)
    engine = Engine(model)
    for prompt, cached in ((PROMPT, 0), (PROMPT, 2), ([*PROMPT, 8], 2), ([1, 9, 3], 0)):
        (result,) = run(engine, request(prompt))
        assert result.stats.cached_prompt_tokens == cached
        assert list(result.token_ids) == model.expected(prompt, 8)


def test_the_third_prompt_with_the_same_beginning_goes_on_from_a_state_that_the_second_kept() -> None:
    model = FakeModel(has_state=True, context_length=200)
    engine = Engine(model)
    common = list(range(40))
    for last, cached in (([50, 51], 0), ([60, 61], 0), ([70, 71], 40)):
        prompt = [*common, *last]
        (result,) = run(engine, request(prompt))
        assert result.stats.cached_prompt_tokens == cached
        assert list(result.token_ids) == model.expected(prompt, 8)


def test_prompts_that_part_early_go_on_together_beside_a_state() -> None:
    model = FakeModel(has_state=True, context_length=400)
    engine = Engine(model)
    common = list(range(20))
    run(engine, request([*common, 90]))
    prompts = [[*common, *[first] * 180] for first in (91, 92)]
    results = run(engine, *(request(prompt) for prompt in prompts))
    assert [list(each.token_ids) for each in results] == [model.expected(each, 8) for each in prompts]


def test_a_waiting_request_takes_no_room_that_a_prompt_still_needs() -> None:
    shape = FakeModel(context_length=2000).cache.shape
    model = FakeModel(context_length=2000, max_bytes=shape.num_bytes(1, 1300))
    engine = Engine(model, prefill_chunk=100)
    long, short = request([i % 250 for i in range(1000)]), request()
    results = run(engine, long, short)
    assert list(results[0].token_ids) == model.expected(long.prompt_token_ids, 8)
    assert list(results[1].token_ids) == model.expected(PROMPT, 8)


def test_no_memory_for_a_prompts_chunk_ends_only_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(context_length=400)
    engine = Engine(model)
    decoding = request(max_new_tokens=20)
    engine.submit(decoding)
    for _ in range(4):
        engine.advance()
    run_model = model.run

    def run_without_memory(batch: Sequence[Span]) -> Any:
        if any(not span.num_logits for span in batch):
            raise OutOfMemoryError("no memory for a chunk")
        return run_model(batch)

    monkeypatch.setattr(model, "run", run_without_memory)
    late = request(range(50))
    engine.submit(late)
    while engine.has_work:
        engine.advance()
        engine.check()
    assert isinstance(late.error, OutOfMemoryError)
    assert decoding.result is not None
    assert list(decoding.result.token_ids) == model.expected(PROMPT, 20)


def test_snapshots_stay_within_the_byte_limit() -> None:
    probe = FakeModel(has_state=True).cache.shape
    limit = probe.num_bytes(1, 256) + probe.snapshot_bytes
    model = FakeModel(has_state=True, context_length=200, max_bytes=limit)
    engine = Engine(model, prefill_chunk=5)
    for prompt in (list(range(40)), list(range(30)), [*range(20), 9]):
        (result,) = run(engine, request(prompt))
        assert list(result.token_ids) == model.expected(prompt, 8)
        assert model.cache.nbytes <= limit


def test_eos_ends_and_ignore_eos_does_not() -> None:
    model = FakeModel()
    expected = model.expected(PROMPT, 8)
    eos = expected[3]
    (stopped,) = run(Engine(model), request(eos=[eos, 299]))
    assert list(stopped.token_ids) == expected[: expected.index(eos) + 1]
    assert stopped.finish_reason == "stop"
    (ignored,) = run(Engine(FakeModel()), request(eos=[eos], ignore_eos=True))
    assert list(ignored.token_ids) == expected
    (own,) = run(Engine(FakeModel()), request(stop_token_ids=[eos], ignore_eos=True))
    assert own.token_ids == stopped.token_ids


def test_min_new_tokens_forbids_eos() -> None:
    eos = FakeModel().expected(PROMPT, 1)[0]
    (result,) = run(Engine(FakeModel()), request(eos=[eos], min_new_tokens=3, max_new_tokens=8))
    assert eos not in result.token_ids[:3]
    assert len(result.token_ids) >= 3


def test_bad_words_are_texts_or_token_ids() -> None:
    plain = run(Engine(FakeModel()), request([1, 2], max_new_tokens=4))[0].token_ids
    banned = GenerationConfig.from_dict({"bad_words_ids": [list(plain[:2]), [plain[3]]]}).bad_words
    assert banned == (plain[:2], plain[3:])
    found = run(Engine(FakeModel()), request([1, 2], max_new_tokens=4, bad_words=banned))[0].token_ids
    assert found[0] == plain[0]
    assert found[1] != plain[1]
    assert plain[3] not in found
    for wrong in ([[]], [5], [["a"]], ""):
        with pytest.raises(OptionError, match="bad_words"):
            GenerationConfig(bad_words=wrong)  # type: ignore[arg-type]


def test_stop_string_cuts_the_text_and_never_leaks_into_the_stream() -> None:
    model = FakeModel(vocab_size=128)
    text = bytes(model.expected(PROMPT, 30)).decode()
    stop = text[10:13]
    cut = text.index(stop)
    streamed = request(max_new_tokens=30, stop=[stop], stream=True)
    (result,) = run(Engine(model), streamed)
    assert result.text == text[:cut]
    assert result.finish_reason == "stop"
    assert "".join(piece.text for piece in streamed.pieces) == text[:cut]
    assert streamed.pieces[-1].finish_reason == "stop"


def test_stream_gives_every_token_and_character_once() -> None:
    model = FakeModel()
    streamed = request(max_new_tokens=25, stream=True)
    (result,) = run(Engine(model), streamed)
    assert tuple(t for piece in streamed.pieces for t in piece.token_ids) == result.token_ids
    assert (
        "".join(piece.text for piece in streamed.pieces)
        == result.text
        == ByteTokenizer().decode(result.token_ids)
    )
    assert [piece.finish_reason for piece in streamed.pieces][-1] == "length"
    assert all(piece.finish_reason is None for piece in list(streamed.pieces)[:-1])


def test_logprobs_are_those_of_the_model() -> None:
    model = FakeModel()
    (result,) = run(Engine(model), request(top_logprobs=3, temperature=0.7, seed=1))
    assert result.logprobs is not None
    assert [entry.token_id for entry in result.logprobs] == list(result.token_ids)
    slot = model.cache.acquire([0])
    assert slot is not None
    model.cache.truncate(slot, 0)
    whole = [*PROMPT, *result.token_ids]
    logits = model.run([Span(slot, whole, len(whole))]).logits_of(0, len(whole))[len(PROMPT) - 1 :]
    for entry, row in zip(result.logprobs, logits, strict=False):
        log_probs = row - np.log(np.exp(row).sum())
        assert entry.logprob == pytest.approx(log_probs[entry.token_id], abs=1e-5)
        assert [token for token, _ in entry.top_logprobs] == np.argsort(-row)[:3].tolist()


def test_a_seed_gives_the_same_tokens_alone_and_in_a_batch() -> None:
    options = {"temperature": 1.5, "seed": 7, "max_new_tokens": 12}
    (alone,) = run(Engine(FakeModel()), request([5], **options))
    others = [request([i], temperature=2.0, max_new_tokens=3 + i) for i in range(4)]
    together = run(Engine(FakeModel()), *others, request([5], **options))[-1]
    assert alone.token_ids == together.token_ids


def test_context_full_ends_with_length() -> None:
    model = FakeModel(context_length=20)
    (result,) = run(Engine(model), request(max_new_tokens=None))
    assert result.finish_reason == "length"
    assert len(result.token_ids) == 17


def test_a_prompt_that_fills_the_context_ends_at_once() -> None:
    model = FakeModel(context_length=20)
    (result,) = run(Engine(model), request(range(20)))
    assert (result.token_ids, result.finish_reason) == ((), "length")


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (range(21), {}, "21 tokens, but the context holds 20"),
        ([], {}, "empty"),
        ([300], {}, "less than 300"),
        ([-1], {}, "at least 0"),
        ([1], {"num_beams": 5}, "max_batch=4"),
        ([1], {"num_beams": 2**63}, "max_batch=4"),
        ([1], {"num_return_sequences": 10**12, "do_sample": True}, "max_batch=4"),
        ([1], {"logit_bias": {999: 1.0}}, "999"),
    ],
)
def test_what_can_never_run_is_refused(prompt: Sequence[int], options: dict[str, Any], message: str) -> None:
    engine = Engine(FakeModel(context_length=20))
    with pytest.raises(OptionError, match=message):
        engine.submit(request(prompt, **options))
    assert not engine.has_work


def test_beams_come_as_one_piece() -> None:
    streamed = request(num_beams=2, stream=True)
    (result,) = run(Engine(FakeModel()), streamed)
    (piece,) = streamed.pieces
    assert (piece.text, piece.token_ids, piece.finish_reason) == (result.text, result.token_ids, "length")


def test_a_dropped_stream_gives_its_slot_back() -> None:
    model = FakeModel(max_batch=1)
    engine = Engine(model)
    dropped = request(stream=True, max_new_tokens=50)
    engine.submit(dropped)
    stream = GenerationStream(engine, dropped)
    next(stream)
    del stream
    (result,) = run(engine, request())
    assert list(result.token_ids) == model.expected(PROMPT, 8)
    assert dropped.result is not None
    assert dropped.result.finish_reason == "cancelled"


def test_cancelling_inside_a_step_takes_effect_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    engine = Engine(model)
    each = request(stream=True, max_new_tokens=50)
    engine.submit(each)
    run_model = model.run
    monkeypatch.setattr(model, "run", lambda batch: (engine.cancel(each), run_model(batch))[1])
    engine.advance()
    engine.advance()
    assert each.result is not None
    assert each.result.token_ids == ()


def test_a_byte_limit_makes_requests_wait_and_ends_what_outgrows_it_alone() -> None:
    probe = FakeModel(context_length=2000)
    limit = 700 * probe.cache.shape.bytes_per_position
    model = FakeModel(context_length=2000, max_bytes=limit)
    engine = Engine(model)
    long = request(range(200), max_new_tokens=600)
    short = request(PROMPT, max_new_tokens=4)
    results = run(engine, long, short, request([7], max_new_tokens=4))
    assert results[0].finish_reason == "length"
    assert len(results[0].token_ids) == 501  # 700 positions, and the last token needs none
    assert list(results[1].token_ids) == model.expected(PROMPT, 4)
    too_long = request([i % 300 for i in range(800)])
    with pytest.raises(OptionError, match="kv_cache_bytes"):
        run(engine, too_long)


def test_an_interrupted_step_ends_what_ran_and_frees_its_slots() -> None:
    model = FakeModel()
    engine = Engine(model)
    first, second = request(), request([4, 5])
    engine.submit(first)
    engine.submit(second)
    engine.advance()
    model.fail_next = True
    with pytest.raises(KeyboardInterrupt):
        engine.advance()
    engine.check()
    assert isinstance(first.error, GenerationError)
    assert model.cache.num_in_use == 0
    (result,) = run(engine, request())
    assert list(result.token_ids) == model.expected(PROMPT, 8)


@pytest.mark.parametrize(("where", "value"), [(3, np.nan), (3, np.inf), (slice(None), -np.inf)])
def test_unusable_logits_fail_only_their_own_request(
    monkeypatch: pytest.MonkeyPatch, where: Any, value: float
) -> None:
    model = FakeModel()
    run_model = model.run

    def run_with_nan(batch: Sequence[Span]) -> Any:
        output = run_model(batch)
        for start, span in zip(output.starts, batch, strict=True):
            if span.slot.token_ids[0] == 9 and len(span.slot.token_ids) > 5:
                output.logits[start, where] = value
        return output

    monkeypatch.setattr(model, "run", run_with_nan)
    engine = Engine(model)
    good, bad = request(), request([9, 9])
    with pytest.raises(GenerationError, match=r"NaN|\+inf|-inf"):
        run(engine, good, bad)
    assert good.result is not None
    assert list(good.result.token_ids) == model.expected(PROMPT, 8)


def test_cancel_keeps_what_came() -> None:
    model = FakeModel()
    engine = Engine(model)
    each = request(stream=True, max_new_tokens=50)
    engine.submit(each)
    for _ in range(5):
        engine.advance()
    engine.cancel(each)
    engine.cancel(each)
    assert each.result is not None
    assert each.result.finish_reason == "cancelled"
    assert list(each.result.token_ids) == model.expected(PROMPT, 4)  # the prompt took a step
    assert each.pieces[-1].finish_reason == "cancelled"
    waiting = request()
    engine.submit(waiting)
    engine.cancel(waiting)
    assert waiting.result is not None
    assert not engine.has_work


def test_cancelled_beams_give_the_best_so_far() -> None:
    engine = Engine(FakeModel())
    each = request(num_beams=3, max_new_tokens=30)
    engine.submit(each)
    for _ in range(6):
        engine.advance()
    engine.cancel(each)
    assert each.result is not None
    assert each.result.finish_reason == "cancelled"
    assert len(each.result.token_ids) == 5  # the prompt took a step


def test_many_threads_may_wait_for_their_own_requests() -> None:
    model = FakeModel(context_length=200)
    engine = Engine(model)
    results: dict[int, tuple[int, ...]] = {}

    def work(first: int) -> None:
        each = request([first, 2], max_new_tokens=20)
        engine.submit(each)
        engine.run([each])
        assert each.result is not None
        results[first] = each.result.token_ids

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {k: list(v) for k, v in results.items()} == {i: model.expected([i, 2], 20) for i in range(8)}


async def test_async_requests_run_together_and_leaving_early_cancels() -> None:
    model = FakeModel(context_length=500)
    driver = BackgroundDriver(EnginePool([Engine(model)]))

    async def one(first: int) -> list[int]:
        each = request([first], max_new_tokens=20, stream=True)
        return [t async for piece in driver.submit(each) for t in piece.token_ids]

    assert await asyncio.gather(*(one(i) for i in range(6))) == [model.expected([i], 20) for i in range(6)]
    left = request(max_new_tokens=400, stream=True)
    pieces = driver.submit(left)
    async for _ in pieces:
        break
    await pieces.aclose()
    assert left.result is not None
    assert left.result.finish_reason == "cancelled"
    driver.close()


def test_score_returns_the_logits_of_every_token() -> None:
    model = FakeModel()
    engine = Engine(model)
    run(engine, request())
    logits = engine.score(PROMPT)
    assert logits.shape == (3, 300)
    assert logits[-1].argmax() == model.expected(PROMPT, 1)[0]
    with pytest.raises(OptionError, match="65 tokens"):
        engine.score([1] * 65)
    engine.check()


@pytest.mark.parametrize("has_state", [False, True])
def test_scoring_part_by_part_equals_the_whole_and_computes_nothing_twice(
    has_state: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeModel(has_state=has_state)
    token_ids = list(range(40, 70))
    whole = Engine(FakeModel(has_state=has_state)).score(token_ids)
    num_run = 0

    def count(batch: Sequence[Span], run: Any = model.run) -> StepOutput:
        nonlocal num_run
        num_run += sum(len(span.token_ids) for span in batch)
        return run(batch)

    monkeypatch.setattr(model, "run", count)
    engine = Engine(model)
    parts, ends = [], [10, 11, 22, 30]
    for start, end in zip([4, *ends], ends, strict=False):
        parts.append(engine.score(token_ids[:end], num_logits=end - start))
        engine.check()
    np.testing.assert_array_equal(np.concatenate(parts), whole[4:])
    assert num_run == 30
    np.testing.assert_array_equal(engine.score(token_ids, num_logits=30), whole)


@pytest.mark.parametrize("num_logits", [0, 4, -1])
def test_logits_of_more_tokens_than_there_are(num_logits: int) -> None:
    with pytest.raises(OptionError, match=f"at most 3, the number of tokens, not {num_logits}"):
        Engine(FakeModel()).score(PROMPT, num_logits=num_logits)


def test_short_new_prompts_prefill_together() -> None:
    model = FakeModel()
    prompts = [[1, 2, 3], [4, 5, 6, 7], [8, 9]]
    results = run(Engine(model), *(request(p) for p in prompts))
    assert model.runs[0] == ("prefill", 2 + 3 + 1)
    assert [list(r.token_ids) for r in results] == [model.expected(p, 8) for p in prompts]


def test_requests_with_the_same_beginning_that_come_together_compute_it_once() -> None:
    model = FakeModel(context_length=200)
    prompts = [[*range(40), last] for last in (50, 60, 70)]
    results = run(Engine(model), *(request(p) for p in prompts))
    assert sum(count for kind, count in model.runs if kind == "prefill") == 40
    assert [list(r.token_ids) for r in results] == [model.expected(p, 8) for p in prompts]


def test_a_token_that_begins_every_prompt_does_not_keep_prompts_apart() -> None:
    model = FakeModel()
    engine = Engine(model)
    run(engine, request([256, 9]))
    model.runs.clear()
    prompts = [[256, *[first] * 11] for first in (1, 2, 3)]
    results = run(engine, *(request(prompt) for prompt in prompts))
    assert model.runs[0] == ("prefill", 3 * 11)
    for prompt, result in zip(prompts, results, strict=True):
        assert list(result.token_ids) == model.expected(prompt, 8)
        assert result.stats.cached_prompt_tokens == 0


def fail_from(model: FakeModel, monkeypatch: pytest.MonkeyPatch, num_allocations: int) -> None:
    """Let the device run out of memory after so many more allocations."""
    allocate, left = model.device.allocate, [num_allocations]

    def allocate_some(shape: tuple[int, ...], dtype: Any) -> Any:
        if left[0] == 0:
            raise OutOfMemoryError("out of memory")
        left[0] -= 1
        return allocate(shape, dtype)

    monkeypatch.setattr(model.device, "allocate", allocate_some)


@pytest.mark.parametrize("num_allocations", [0, 1, 2, 3])
def test_no_memory_for_a_request_is_its_error_and_leaves_a_sound_cache(
    monkeypatch: pytest.MonkeyPatch, num_allocations: int
) -> None:
    model = FakeModel(context_length=2000)
    engine = Engine(model)
    run(engine, request())
    with monkeypatch.context() as patch:
        fail_from(model, patch, num_allocations)
        with pytest.raises(GenerationError, match="out of memory"):
            run(engine, request([1] * 300))
    assert model.cache.num_in_use == 0
    (result,) = run(engine, request())
    assert list(result.token_ids) == model.expected(PROMPT, 8)


def test_no_memory_to_score_leaves_a_sound_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(context_length=2000)
    engine = Engine(model)
    run(engine, request())
    with monkeypatch.context() as patch:
        fail_from(model, patch, 2)
        with pytest.raises(GenerationError, match="out of memory"):
            engine.score([1] * 300)
    engine.check()
    assert engine.score([1] * 300).shape == (300, 300)


def test_scoring_loses_no_cached_prefix() -> None:
    engine = Engine(FakeModel())
    run(engine, request([7]), request())
    engine.score([PROMPT[0], 9])
    (again,) = run(engine, request())
    assert again.stats.cached_prompt_tokens == len(PROMPT) - 1


def test_under_a_byte_limit_a_long_request_leaves_room_for_later_beams() -> None:
    probe = FakeModel()
    model = FakeModel(context_length=2000, max_bytes=700 * probe.cache.shape.bytes_per_position)
    engine = Engine(model)
    run(engine, request(range(200), max_new_tokens=300))
    (result,) = run(engine, request(num_beams=4))
    (expected,) = run(Engine(FakeModel()), request(num_beams=4))
    assert result.token_ids == expected.token_ids


def test_beams_of_unusable_logits_fail_only_their_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    run_model = model.run

    def run_with_nan(batch: Sequence[Span]) -> Any:
        output = run_model(batch)
        for start, span in zip(output.starts, batch, strict=True):
            if span.slot.token_ids[0] == 9:
                output.logits[start, 3] = np.nan
        return output

    monkeypatch.setattr(model, "run", run_with_nan)
    good, bad = request(), request([9], num_beams=2)
    with pytest.raises(GenerationError, match="NaN"):
        run(Engine(model), good, bad)
    assert good.result is not None
    assert list(good.result.token_ids) == model.expected(PROMPT, 8)


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"temperature": 1.0}], ids=str)
def test_what_ends_without_a_token_has_as_many_choices_and_pieces_as_asked_for(
    options: dict[str, Any],
) -> None:
    engine = Engine(FakeModel(context_length=20), prefill_chunk=1)
    options = {**options, "num_return_sequences": 2, "stream": True}
    cancelled, full = request(range(10), **options), request(range(20), **options)
    engine.submit(cancelled)
    engine.advance()
    engine.cancel(cancelled)
    engine.submit(full)
    for each, reason in ((cancelled, "cancelled"), (full, "length")):
        assert each.result is not None
        assert [(c.token_ids, c.finish_reason) for c in each.result.choices] == [((), reason)] * 2
        assert [(p.index, p.finish_reason) for p in each.pieces] == [(0, reason), (1, reason)]
    engine.check()


def test_a_request_may_be_submitted_while_a_step_looks_at_those_that_wait() -> None:
    engine = Engine(FakeModel(max_batch=1))

    class SubmittingRequest(Request):
        """Submits another one at the moment when the step asks whether it was cancelled."""

        other: Request | None = None

        @property
        def is_cancelled(self) -> bool:
            other, self.other = self.other, None
            if other is not None:
                engine.submit(other)
            return False

        @is_cancelled.setter
        def is_cancelled(self, value: bool) -> None:
            assert not value

    waiting = SubmittingRequest(PROMPT, GenerationConfig(max_new_tokens=2))
    waiting.other = request([9])
    others = [request(), waiting.other]
    run(engine, others[0], waiting, request())
    assert all(each.result is not None for each in (*others, waiting))


async def test_the_background_thread_outlives_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    driver = BackgroundDriver(EnginePool([Engine(model)]))
    with monkeypatch.context() as patch:
        patch.setattr(model, "run", lambda _: 1 / 0)
        with pytest.raises(GenerationError, match="ZeroDivisionError"):
            _ = [piece async for piece in driver.submit(request())]
    after = request()
    await asyncio.wait_for(_read(driver, after), 5)
    assert after.result is not None
    assert list(after.result.token_ids) == model.expected(PROMPT, 8)
    driver.close()


async def test_closing_the_driver_ends_what_is_awaited() -> None:
    driver = BackgroundDriver(EnginePool([Engine(FakeModel(context_length=100_000))]))
    running = request(max_new_tokens=90_000)
    reader = asyncio.create_task(_read(driver, running))
    await asyncio.sleep(0.02)
    driver.close()
    await asyncio.wait_for(reader, 5)
    late = request()
    await asyncio.wait_for(_read(driver, late), 5)
    for each in (running, late):
        assert each.result is not None
        assert each.result.finish_reason == "cancelled"


async def test_a_thread_that_dies_does_not_wait_for_whom_a_signal_has_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The signal's handler closes, and waits for the thread, while what it has interrupted holds the lock."""
    driver = BackgroundDriver(EnginePool([Engine(FakeModel())]))
    begun, dies = threading.Event(), threading.Event()

    def die(engine: Engine) -> None:
        begun.set()
        dies.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "_take_steps", die)
    reading = asyncio.create_task(_read(driver, request()))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    (thread,) = driver._threads.values()
    with driver._starting:
        dies.set()
        await asyncio.to_thread(driver.close)
    assert not thread.is_alive()
    with pytest.raises(GenerationError, match="KeyboardInterrupt"):
        await asyncio.wait_for(reading, 5)


async def test_a_driver_without_work_has_no_thread_and_can_be_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai.engine.background.IDLE_SECONDS", 0.02)
    model = FakeModel()
    driver = BackgroundDriver(EnginePool([Engine(model)]))
    for _ in range(3):  # and another one as soon as there is work again
        each = request()
        await asyncio.wait_for(_read(driver, each), 5)
        assert each.result is not None
        await asyncio.sleep(0.1)
        assert not driver._threads
    freed = weakref.ref(model)
    del driver, model, each
    gc.collect()
    assert freed() is None


async def _read(driver: BackgroundDriver, each: Request) -> None:
    async for _ in driver.submit(each):
        pass


def test_score_waits_for_a_free_slot() -> None:
    model = FakeModel(max_batch=1)
    engine = Engine(model)
    running = request(max_new_tokens=5)
    engine.submit(running)
    engine.advance()
    assert engine.score(PROMPT).shape == (3, 300)
    assert running.result is not None
