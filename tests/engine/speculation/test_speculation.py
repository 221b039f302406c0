"""Whatever is guessed, what comes is what would have come without."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from genai.config import GenerationConfig
from genai.engine import Engine, GenerationResult, Request
from genai.engine.sequence import GenerationSequence
from genai.engine.speculation import ModelDrafter, Speculation
from genai.errors import GenerationError, OptionError
from genai.model import Span, StepOutput
from genai.sampling import log_softmax
from tests.engine.speculation.guessing import FixedCosts, Prompter
from tests.fakes import ByteTokenizer, FakeModel

PROMPT = [1, 2, 3, 1, 2]


class Rhyme:
    """A constraint with a memory: no token may come again that came two before, and each is only once even."""

    option = "rhyme"
    is_done = is_waiting = False

    def __init__(self, token_ids: Sequence[int] = ()) -> None:
        self.token_ids = list(token_ids)

    def apply(self, logits: Any) -> None:
        logits[len(self.token_ids) % 7 :: 7] = -np.inf
        if len(self.token_ids) > 1:
            logits[self.token_ids[-2]] = -np.inf

    def accept(self, token_id: int) -> None:
        self.token_ids.append(token_id)

    def forced_token(self) -> int | None:
        return None

    def copy(self) -> Rhyme:
        return Rhyme(self.token_ids)


KINDS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 0.3, "seed": 3, "num_return_sequences": 2},
    {"temperature": 0.8, "top_k": 5, "repetition_penalty": 1.7, "frequency_penalty": 0.4, "seed": 9},
    {"presence_penalty": 2.0, "no_repeat_ngram_size": 2},
    {"stop": ["e", "oo"], "min_new_tokens": 3},
    {"stop_token_ids": [0, 1, 2, 3, 4, 5, 6, 7], "min_new_tokens": 2},
    {"top_logprobs": 3},
    {"temperature": 1.0, "logprobs": True, "seed": 1},
    {"num_beams": 2},
    {"speculative": "off"},
    {"num_draft_tokens": 2},
]


def make(prompt: Sequence[int], options: Mapping[str, Any], **others: Any) -> Request:
    config = GenerationConfig().merge(**{"max_new_tokens": 8, **options})
    return Request(prompt, config, tokenizer=ByteTokenizer(), eos_token_ids=[257], **others)


def run(engine: Engine, *requests: Request) -> list[GenerationResult]:
    for each in requests:
        engine.submit(each)
    while engine.has_work:
        engine.advance()
        engine.check()
    results = []
    for each in requests:
        if each.error is not None:
            raise each.error
        assert each.result is not None
        results.append(each.result)
    return results


def alone(each: Request, model: FakeModel) -> Request:
    """Return the same request, run to its end by itself with nothing guessed."""
    options = {} if each.config.num_beams > 1 else {"speculative": "off", "num_draft_tokens": None}
    twin = Request(
        each.prompt_token_ids,
        each.config.merge(**options),
        tokenizer=each.tokenizer,
        eos_token_ids=each.eos_token_ids,
        stream=each.stream,
        adapter=each.adapter,
        make_constraint=each.make_constraint,
    )
    twin.seed = each.seed
    engine = Engine(model)
    engine.submit(twin)
    while engine.has_work:
        engine.advance()
    return twin


def answers(twin: Request, index: int) -> Sequence[int]:
    if twin.result is None:
        return ()
    return (twin.result.choices or (twin.result,))[index].token_ids


def assert_same(each: Request, twin: Request) -> None:
    assert str(each.error) == str(twin.error)
    if each.result is None or twin.result is None:
        return
    for name in ("token_ids", "text", "finish_reason", "logprobs", "choices"):
        assert getattr(each.result, name) == getattr(twin.result, name)
    pieces, expected = list(each.pieces), list(twin.pieces)
    assert [(p.index, p.text, p.token_ids, p.logprobs) for p in sorted(pieces, key=lambda p: p.index)] == [
        (p.index, p.text, p.token_ids, p.logprobs) for p in sorted(expected, key=lambda p: p.index)
    ]
    assert each.result.stats.accepted_tokens <= each.result.stats.drafted_tokens


def answer_a_mix(
    data: st.DataObject,
    engine: Engine,
    twins: dict[Request, Request],
    limits: Mapping[str, Any],
    *,
    adapters: Sequence[str | None] = (None,),
) -> None:
    """Submit drawn requests while others run, and see that each has the answer of its twin, which is entered before."""
    model = engine._model
    for _ in range(data.draw(st.integers(1, 5))):
        prompt = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=20))
        options = {**data.draw(st.sampled_from(KINDS)), "max_new_tokens": data.draw(st.integers(1, 24))}
        options["min_new_tokens"] = min(options.get("min_new_tokens", 0), options["max_new_tokens"])
        each = make(
            prompt,
            options,
            stream=data.draw(st.booleans()),
            adapter=data.draw(st.sampled_from(adapters)),
            make_constraint=data.draw(st.sampled_from([None, Rhyme])),
        )
        twins[each] = alone(each, FakeModel(max_batch=model.max_batch, **limits))
        engine.submit(each)
        for _ in range(data.draw(st.integers(0, 4))):
            engine.advance()
            engine.check()
    while engine.has_work:
        engine.advance()
        engine.check()
    for each, twin in twins.items():
        assert_same(each, twin)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_guesses_leave_any_mix_of_requests_its_answers(data: st.DataObject) -> None:
    limits: dict[str, Any] = {
        "context_length": 80,
        "switch_length": data.draw(st.sampled_from([None, 9, 14])),
        "has_state": data.draw(st.integers(0, 4)) == 0,
        "adapters": ("a",),
    }
    if data.draw(st.booleans()):  # so little memory that requests take it from each other all the time
        limits["max_bytes"] = FakeModel(**limits).cache.shape.num_bytes(2, data.draw(st.integers(12, 40)))
    model = FakeModel(max_batch=data.draw(st.integers(2, 5)), **limits)
    twins: dict[Request, Request] = {}
    wrong = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    draw_wrong = np.random.default_rng(data.draw(st.integers(0, 9)))
    prompter = Prompter(
        lambda sequence: answers(twins[sequence.request], sequence.index),
        lambda _: bool(draw_wrong.random() < wrong),
    )
    speculation = Speculation(model, drafters={"ngram": prompter}, costs=FixedCosts())
    engine = Engine(model, prefill_chunk=data.draw(st.sampled_from([2, 5, 40])), speculation=speculation)
    answer_a_mix(data, engine, twins, limits, adapters=[None, "a"])
    for each in twins:
        stats_of = each.result.stats if each.result else None
        if stats_of and (
            each.config.num_beams > 1 or each.config.speculative == "off" or limits["has_state"]
        ):
            assert stats_of.drafted_tokens == 0
        elif stats_of and wrong == 1.0:
            assert stats_of.accepted_tokens == 0


def prompted(
    model: FakeModel, answer: Sequence[int], *, wrong: bool = False, cost: float = 0.0
) -> Speculation:
    prompter = Prompter(lambda _: answer, lambda _: wrong)
    return Speculation(model, drafters={"ngram": prompter}, costs=FixedCosts(another_token=cost))


def test_right_guesses_save_steps_and_are_counted() -> None:
    model = FakeModel()
    answer = model.expected(PROMPT, 24)
    (result,) = run(Engine(model, speculation=prompted(model, answer)), make(PROMPT, {"max_new_tokens": 24}))
    assert list(result.token_ids) == answer
    assert result.stats.accepted_tokens == result.stats.drafted_tokens == 22  # in two runs, of 16 and of 8
    assert len(model.runs) == 1  # the prompt's; verifications are no steps of one token


def test_wrong_guesses_are_given_up_where_they_cost() -> None:
    model = FakeModel(context_length=400)
    answer = model.expected(PROMPT, 200)
    engine = Engine(model, speculation=prompted(model, answer, wrong=True, cost=0.3))
    (result,) = run(engine, make(PROMPT, {"max_new_tokens": 200}))
    assert list(result.token_ids) == answer
    assert result.stats.drafted_tokens < 60
    assert result.stats.accepted_tokens == 0


def test_what_is_guessed_is_right_again_after_it_was_wrong() -> None:
    model = FakeModel(context_length=400)
    answer = model.expected(PROMPT, 200)
    prompter = Prompter(lambda _: answer, lambda place: place < 100)
    speculation = Speculation(model, drafters={"ngram": prompter}, costs=FixedCosts(another_token=0.3))
    (result,) = run(Engine(model, speculation=speculation), make(PROMPT, {"max_new_tokens": 200}))
    assert result.stats.accepted_tokens > 50


def test_a_draft_takes_no_memory_that_is_not_there() -> None:
    shape = FakeModel(context_length=300).cache.shape
    limits = {"context_length": 300, "max_bytes": shape.num_bytes(1, 30)}
    plain = run(Engine(FakeModel(**limits)), make(PROMPT, {"max_new_tokens": 100, "speculative": "off"}))[0]
    model = FakeModel(**limits)
    engine = Engine(model, speculation=prompted(model, [*plain.token_ids, *[5] * 90]))
    (result,) = run(engine, make(PROMPT, {"max_new_tokens": 100}))
    assert result.token_ids == plain.token_ids
    assert result.stats.accepted_tokens
    assert len(result.token_ids) == 26


class EverySecondStep(Prompter):
    """Guesses at every second step, as right as it is told."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._num_asked: dict[GenerationSequence, int] = {}

    def level(self, sequence: GenerationSequence) -> int | None:
        self._num_asked[sequence] = self._num_asked.get(sequence, 0) + 1
        return None if self._num_asked[sequence] % 2 else 0


@pytest.mark.parametrize("wrong", [False, True])
def test_a_hole_closes_while_rows_are_guessed_ahead(wrong: bool) -> None:
    model = FakeModel(context_length=2000, max_batch=4)
    prompts = [[i, 1] for i in range(4)]
    counts = [150 if i == 1 else 900 for i in range(4)]
    answers = [model.expected(prompt, count) for prompt, count in zip(prompts, counts, strict=True)]
    drafter = EverySecondStep(lambda sequence: answers[sequence.ids[0]], lambda _: wrong)
    costs = FixedCosts(another_row=1.0)
    engine = Engine(model, speculation=Speculation(model, drafters={"ngram": drafter}, costs=costs))
    requests = [
        make(prompt, {"max_new_tokens": count, "num_draft_tokens": 1, "ignore_eos": True})
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    for each in requests:
        engine.submit(each)
    copied = 0
    while not any(each.is_finished for each in (requests[0], requests[2], requests[3])):
        in_use = [slot.index for slot in model.cache.slots if slot.in_use]
        before, capacity = model.device.num_positions, model.cache.capacity
        engine.advance()
        engine.check()
        if requests[1].is_finished and model.cache.capacity == capacity:
            copied += model.device.num_positions - before
    assert in_use == list(range(in_use[0], in_use[0] + 3))
    assert copied < 800 * len(model.cache.shape.tensors), "every position is moved once"
    engine.run(requests)
    for each, answer in zip(requests, answers, strict=True):
        assert each.result is not None
        assert each.result.stats.drafted_tokens > 20
        assert list(each.result.token_ids) == answer


def test_a_sequence_is_forgotten_when_it_ends() -> None:
    model = FakeModel()
    prompter = Prompter(lambda _: [5] * 9)
    engine = Engine(model, speculation=Speculation(model, drafters={"ngram": prompter}, costs=FixedCosts()))
    each = make(PROMPT, {})
    run(engine, each)
    assert [sequence.request for sequence in prompter.forgotten] == [each]
    assert not engine._speculation._tracks


def test_an_interrupted_verification_leaves_nothing_behind() -> None:
    model = FakeModel()
    engine = Engine(model, speculation=prompted(model, model.expected(PROMPT, 24)))
    each = make(PROMPT, {"max_new_tokens": 24})
    engine.submit(each)
    engine.advance()
    model.fail_next = True
    with pytest.raises(KeyboardInterrupt):
        engine.advance()
    assert isinstance(each.error, GenerationError)
    engine.check()
    (result,) = run(engine, make(PROMPT, {"max_new_tokens": 24}))
    assert list(result.token_ids) == model.expected(PROMPT, 24)


def test_what_was_wrong_is_not_kept_for_the_next_prompt() -> None:
    model = FakeModel()
    engine = Engine(model, speculation=prompted(model, [7] * 30))
    (first,) = run(engine, make(PROMPT, {}))
    continued = [*PROMPT, *first.token_ids, 9]
    engine = Engine(model)
    (second,) = run(engine, make(continued, {"speculative": "off"}))
    assert second.stats.cached_prompt_tokens == len(continued) - 2
    assert list(second.token_ids) == model.expected(continued, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speculative": "ngrams"}, 'speculative must be "auto", "off", "ngram" or "draft"'),
        ({"num_draft_tokens": 16}, "num_draft_tokens must be an integer >= 1 and <= 15 or None"),
        ({"speculative": "ngram", "num_beams": 2}, 'speculative="ngram" cannot be combined with num_beams'),
        ({"num_draft_tokens": 2, "num_beams": 2}, "num_draft_tokens cannot be combined with num_beams > 1"),
        ({"num_draft_tokens": 2, "speculative": "off"}, 'cannot be combined with speculative="off"'),
    ],
    ids=str,
)
def test_options_that_cannot_be_combined(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GenerationConfig().merge(**options)


def test_what_a_model_cannot_do_is_refused_by_name_and_left_out_by_itself() -> None:
    engine = Engine(FakeModel(has_state=True))
    for name in ("ngram", "draft"):
        with pytest.raises(OptionError, match=r"draft=|states"):
            engine.submit(make(PROMPT, {"speculative": name}))
    (result,) = run(engine, make([1, 1, 1, 1, 1], {}))
    assert result.stats.drafted_tokens == 0
    with pytest.raises(OptionError, match="needs a draft model"):
        Engine(FakeModel()).submit(make(PROMPT, {"speculative": "draft"}))
    with pytest.raises(OptionError, match="cannot be a draft model"):
        Speculation(FakeModel(), FakeModel(has_state=True))


# --- a draft model ---


class Unsure(FakeModel):
    """A draft model that agrees with the large one at two places of three."""

    def _logits(self, slot: Any) -> Any:
        logits = super()._logits(slot)
        return -logits if len(slot.token_ids) % 3 == 0 else logits


def with_draft(model: FakeModel, draft: FakeModel) -> Engine:
    return Engine(
        model, speculation=Speculation(model, draft, costs=FixedCosts(another_row=1.0)), prefill_chunk=5
    )


@settings(max_examples=50)
@given(st.data())
def test_a_draft_model_leaves_any_mix_of_requests_its_answers(data: st.DataObject) -> None:
    limits: dict[str, Any] = {"context_length": 80, "switch_length": data.draw(st.sampled_from([None, 9]))}
    model = FakeModel(max_batch=data.draw(st.integers(2, 5)), **limits)
    kind = data.draw(st.sampled_from([FakeModel, Unsure]))
    draft = kind(
        vocab_size=data.draw(st.sampled_from([280, 300, 320])),
        context_length=data.draw(st.sampled_from([20, 80])),
        max_batch=data.draw(st.integers(1, 5)),
        switch_length=data.draw(st.sampled_from([None, 7])),
        max_bytes=data.draw(st.sampled_from([None, FakeModel().cache.shape.num_bytes(2, 30)])),
    )
    draft.prompt_chunk = data.draw(st.sampled_from([2, 512]))
    engine = with_draft(model, draft)
    answer_a_mix(data, engine, {}, limits)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.8, "seed": 4, "repetition_penalty": 1.3, "num_return_sequences": 2}]
)
def test_a_draft_model_like_the_model_is_always_right_and_catches_up(options: dict[str, Any]) -> None:
    model, draft = FakeModel(context_length=200), FakeModel(context_length=200)
    draft.prompt_chunk = 16
    prompt = list(range(40))
    twin = alone(make(prompt, {"max_new_tokens": 60, **options}), FakeModel(context_length=200))
    engine = with_draft(model, draft)
    each = make(prompt, {"max_new_tokens": 60, "speculative": "draft", **options})
    each.seed = twin.seed
    (result,) = run(engine, each)
    assert_same(each, twin)
    assert result.stats.accepted_tokens == result.stats.drafted_tokens > 50
    assert draft.runs[:2] == [("prefill", 16), ("prefill", 16)]


def test_a_draft_model_guesses_for_all_requests_in_one_run() -> None:
    model, draft = FakeModel(), FakeModel()
    engine = with_draft(model, draft)
    requests = [make([i, 5, 6], {"max_new_tokens": 9}) for i in range(3)]
    results = run(engine, *requests)
    assert [list(r.token_ids) for r in results] == [model.expected([i, 5, 6], 9) for i in range(3)]
    assert ("decode", 3) in draft.runs


def test_sampled_tokens_keep_the_models_distribution_whatever_the_draft_model_thinks() -> None:
    vocab, num_seeds = 4, 1200
    model, draft = FakeModel(vocab_size=vocab), Unsure(vocab_size=vocab)
    engine = with_draft(model, draft)
    counts, num_accepted = np.zeros(vocab**3), 0
    options = {"temperature": 1.0, "top_k": 0, "max_new_tokens": 3, "speculative": "draft"}
    for seed in range(num_seeds):
        each = make([1, 2], {**options, "seed": seed})
        engine.submit(each)
        engine.run([each])
        assert each.result is not None
        num_accepted += each.result.stats.accepted_tokens
        counts[np.ravel_multi_index(each.result.token_ids, (vocab,) * 3)] += 1
    engine.check()
    assert num_accepted > num_seeds / 4
    expected = num_seeds * _distribution([1, 2], vocab, 3)
    is_seen = expected >= 5
    observed = [*counts[is_seen], counts[~is_seen].sum()]
    wanted = [*expected[is_seen], expected[~is_seen].sum()]
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


def _distribution(ids: list[int], vocab: int, count: int) -> Any:
    """Return the probability of every continuation, float64 [vocab ** count]."""
    from tests.fakes import fake_logits

    if not count:
        return np.ones(1)
    first = np.exp(log_softmax(fake_logits(ids, [0] * len(ids), vocab)).astype(np.float64))
    rest = [_distribution([*ids, token_id], vocab, count - 1) for token_id in range(vocab)]
    whole = np.concatenate([p * each for p, each in zip(first, rest, strict=True)])
    return whole / whole.sum()


def test_a_draft_model_that_fails_ends_what_runs_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model, draft = FakeModel(), FakeModel()
    engine = with_draft(model, draft)
    each = make(PROMPT, {})
    engine.submit(each)
    draft.fail_next = True
    with pytest.raises(KeyboardInterrupt):
        engine.run([each])
    assert isinstance(each.error, GenerationError)
    engine.check()
    assert run(engine, make(PROMPT, {}))[0].stats.accepted_tokens


@pytest.mark.parametrize(("draft_seconds", "pays"), [(0.9, False), (0.05, True)])
def test_what_a_draft_model_costs_is_learned(
    draft_seconds: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    class Timed(FakeModel):
        seconds = 1.0

        def run(self, batch: Sequence[Span]) -> StepOutput:
            nonlocal now
            now += self.seconds * (1 + 0.3 * (len(batch[0].token_ids) - 1))
            return super().run(batch)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    model, draft = Timed(context_length=300), Timed(context_length=300)
    draft.seconds = draft_seconds
    (result,) = run(
        Engine(model, speculation=Speculation(model, draft)), make(PROMPT, {"max_new_tokens": 200})
    )
    assert list(result.token_ids) == model.expected(PROMPT, 200)
    assert result.stats.accepted_tokens == result.stats.drafted_tokens
    assert result.stats.drafted_tokens > 100 if pays else result.stats.drafted_tokens < 30


def test_a_useless_draft_model_is_tried_ever_more_seldom() -> None:
    model = FakeModel(context_length=600)
    draft = FakeModel(context_length=600, vocab_size=300, switch_length=0)  # computes everything otherwise
    engine = Engine(model, speculation=Speculation(model, draft, costs=FixedCosts(another_token=0.3)))
    (result,) = run(engine, make(PROMPT, {"max_new_tokens": 500, "ignore_eos": True}))
    assert list(result.token_ids) == model.expected(PROMPT, 500)
    assert 0 < result.stats.drafted_tokens < 60


def test_sequences_are_what_a_model_drafter_knows_them_by() -> None:
    drafter = ModelDrafter(FakeModel(), vocab_size=300)
    sequence = GenerationSequence(
        make(PROMPT, {}),
        0,
        make(PROMPT, {}).make_sampler(vocab_size=300, stream=0, max_length=64),
        max_length=64,
    )
    drafter.forget(sequence)  # of which nothing is kept
    drafter.check()
