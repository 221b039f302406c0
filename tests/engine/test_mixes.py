"""Any mix of requests with any options, in little memory and guessed ahead, gives each what it gives alone and step by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import genai.engine.strategies.sampling as sampling
from genai.config import GenerationConfig
from genai.engine import Engine, Request, Speculation
from genai.errors import OptionError
from genai.model import Span
from genai.structured import GrammarCompiler
from genai.text import Tokenizer
from tests.engine.speculation.guessing import FixedCosts, Prompter
from tests.fakes import FakeModel

EOS = 2
MAX_BATCH, MAX_PROMPT, MAX_NEW = 8, 12, 60
PERSON = {
    "type": "object",
    "properties": {"first_name": {"enum": ["Ada", "Bob"]}, "years_old": {"type": "integer", "maximum": 99}},
    "required": ["first_name", "years_old"],
    "additionalProperties": False,
}
FORMS: list[Any] = [
    None,
    None,
    PERSON,
    ["a long choice of words", "another one"],
    {"type": "regex", "regex": "(lazy|dog){2,9}"},
]
CHOICES: list[Sequence[Mapping[str, Any]]] = [
    [  # how tokens are chosen
        {},
        {"temperature": 1.5},
        {"temperature": 1.5, "num_return_sequences": 2},
        {"temperature": 0.7, "best_of": 3, "num_return_sequences": 2},
        {"mirostat": 2},
        {"xtc_probability": 0.5, "xtc_threshold": 0.01, "min_p": 0.01},
        {"num_beams": 2, "num_return_sequences": 2},
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
        {"guidance_scale": 1.5, "negative_prompt": [5, 4, 3]},
        {"guidance_scale": 0.5, "temperature": 1.0, "num_return_sequences": 2},
    ],
    [  # what is less likely
        {},
        {},
        {"repetition_penalty": 1.3},
        {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_last_n": 4},
        {"dry_multiplier": 0.8, "dry_sequence_breakers": ["a"]},
        {"no_repeat_ngram_size": 3},
        {"bad_words": ["q"], "logit_bias": {7: 2.5}},
        {"watermarking_config": {}},
    ],
    [{}, {}, {"stop": ["o"]}, {"stop_regex": ["[aeiou]{2}"]}, {"min_new_tokens": 6}, {"eos_token_ids": range(9)}],
    [{}, {}, {"logprobs": True}, {"top_logprobs": 2}, {"prompt_logprobs": 1}, {"echo": True}],
    [{}, {}, {"context_policy": "shift", "num_sink_tokens": 2}],
    [{}, {}, {"num_draft_tokens": 2}, {"speculative": "off"}],
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(model_folder: Any) -> Tokenizer:
    return Tokenizer.from_folder(model_folder("llama")[1])


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer.backend, [EOS])


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_mix(tokenizer: Tokenizer, compiler: GrammarCompiler, data: st.DataObject) -> None:
    check_mix(tokenizer, compiler, data)


@pytest.mark.slow
@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_of_many_mixes(tokenizer: Tokenizer, compiler: GrammarCompiler, data: st.DataObject) -> None:
    check_mix(tokenizer, compiler, data)


def check_mix(tokenizer: Tokenizer, compiler: GrammarCompiler, data: st.DataObject) -> None:
    limits: dict[str, Any] = {
        "vocab_size": 331,
        "context_length": data.draw(st.sampled_from([300, 30])),
        "switch_length": data.draw(st.sampled_from([None, None, 20])),
        "has_state": data.draw(st.integers(0, 3)) == 0,
        "adapters": ("a",),
        "max_batch": MAX_BATCH,
    }
    if data.draw(st.booleans()):  # so that they take it from each other all the time
        num_positions = data.draw(st.integers(MAX_PROMPT, MAX_NEW))
        limits["max_bytes"] = FakeModel(**limits).cache.shape.num_bytes(4, num_positions)
    model = FakeModel(**limits)
    twins: dict[Request, Request] = {}
    wrong, draw_wrong = data.draw(st.sampled_from([0.0, 0.3, 1.0])), np.random.default_rng(0)
    prompter = Prompter(
        lambda sequence: _answer(twins[sequence.request], sequence.index),
        lambda _: bool(draw_wrong.random() < wrong),
    )
    costs = FixedCosts(another_row=0.1, another_token=data.draw(st.sampled_from([0.0, 0.1])))
    speculation = Speculation(model, drafters={"ngram": prompter}, costs=costs)
    engine = Engine(model, prefill_chunk=data.draw(st.sampled_from([1, 3, 40])), speculation=speculation)
    run_model, cancelled_inside = model.run, list[Request]()
    late, draw_late = data.draw(st.sampled_from([0.0, 0.3])), np.random.default_rng(1)

    def run_and_cancel(batch: Sequence[Span]) -> Any:
        while cancelled_inside:
            engine.cancel_soon(cancelled_inside.pop())
        if draw_late.random() < late:  # for whoever had the slots before
            model.give_up([span.slot for span in batch])
        return run_model(batch)

    model.run = run_and_cancel  # type: ignore[method-assign]
    for _ in range(data.draw(st.integers(1, 5))):
        each = data.draw(requests(tokenizer, compiler))
        note(
            f"{each.prompt_token_ids}, adapter={each.adapter}, stream={each.stream}, {_changed(each.config)}"
        )
        twins[each] = _alone(each, FakeModel(**limits))
        _submit(engine, each)
        if data.draw(st.integers(0, 5)) == 0:
            cancelled_inside.append(data.draw(st.sampled_from([*twins])))
        for _ in range(data.draw(st.sampled_from([0, 1, 9, 40, 60]))):
            engine.advance()
            engine.check()
        if data.draw(st.integers(0, 5)) == 0:
            engine.cancel(data.draw(st.sampled_from([*twins])))
            engine.check()
        running = engine._scheduler.running
        if running and data.draw(st.booleans()):
            engine._scheduler._preempt(
                data.draw(st.sampled_from(running))
            )  # whoever it is, as if memory were full
    while engine.has_work:
        engine.advance()
        engine.check()
    for each, twin in twins.items():
        if each.is_cancelled:
            _check_cancelled(each, twin)
        else:
            assert _outcome(each) == _outcome(twin)
        if each.result is not None and each.stream:
            for index, choice in enumerate(each.result.choices or (each.result,)):
                pieces = [piece for piece in each.pieces if piece.index == index]
                assert "".join(piece.text for piece in pieces) == choice.text
                assert tuple(i for piece in pieces for i in piece.token_ids) == choice.token_ids


@st.composite
def requests(draw: st.DrawFn, tokenizer: Tokenizer, compiler: GrammarCompiler) -> Request:
    """Draw a request whose options may be combined."""
    prompt = draw(st.lists(st.integers(3, 6), min_size=1, max_size=MAX_PROMPT))
    form, num_new = draw(st.sampled_from(FORMS)), draw(st.integers(6, MAX_NEW))
    config = GenerationConfig().merge(max_new_tokens=num_new, response_format=form, seed=3)
    for choices in CHOICES:
        possible = [merged for each in choices if (merged := _merged(config, each)) is not None]
        config = draw(st.sampled_from(possible))
    grammar = None if config.response_format is None else compiler.compile(config.response_format)
    return Request(
        prompt,
        config,
        tokenizer=tokenizer if grammar is None else tokenizer.verbatim,
        eos_token_ids=[EOS],
        stream=draw(st.booleans()),
        adapter=draw(st.sampled_from([None, "a"])),
        priority=draw(st.sampled_from([0, 0, -1, 2])),
        client=draw(st.sampled_from([None, "a", "b"])),
        make_constraint=None if grammar is None else lambda: grammar.constraint([EOS]),
        parse=None if grammar is None else grammar.parse,
    )


def _merged(config: GenerationConfig, options: Mapping[str, Any]) -> GenerationConfig | None:
    try:
        return config.merge(**{"do_sample": config.do_sample, **options})  # type: ignore[typeddict-item]
    except OptionError:
        return None


def _alone(each: Request, model: FakeModel) -> Request:
    """Return the same request, run to its end by itself, with nothing guessed and no forced tokens together."""
    config = each.config
    if config.num_beams == 1:
        config = config.merge(speculative="off", num_draft_tokens=None)
    twin = Request(
        each.prompt_token_ids,
        config,
        tokenizer=each.tokenizer,
        eos_token_ids=[EOS],
        adapter=each.adapter,
        make_constraint=each.make_constraint,
        parse=each._parse,
    )
    engine = Engine(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "MAX_FORCED_TOKENS", 0)
        _submit(engine, twin)
        while engine.has_work:
            engine.advance()
    return twin


def _changed(config: GenerationConfig) -> dict[str, Any]:
    """Return the options that are not the defaults."""
    default = GenerationConfig()
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def _submit(engine: Engine, request: Request) -> None:
    """Submit a request; one that the model cannot take ends with the error."""
    try:
        engine.submit(request)
    except OptionError as error:
        request.fail(error)


def _answer(twin: Request, index: int) -> Sequence[int]:
    """Return what a sequence will be: of several draws, what one of those that are returned is."""
    if twin.result is None:
        return ()
    choices = twin.result.choices or (twin.result,)
    return choices[index % len(choices)].token_ids


def _check_cancelled(each: Request, twin: Request) -> None:
    """See that what came before a request was cancelled is the beginning of what would have come."""
    if each.result is None:
        assert str(each.error) == str(twin.error)
    elif each.config.num_beams == 1 and each.config.best_of is None and twin.result is not None:
        both = [request.result.choices or (request.result,) for request in (each, twin) if request.result]
        for choice, whole in zip(*both, strict=True):
            assert choice.token_ids == whole.token_ids[: len(choice.token_ids)]


def _outcome(request: Request) -> Any:
    if request.error is not None:
        return str(request.error)
    assert request.result is not None
    fields = ("token_ids", "text", "finish_reason", "parsed", "logprobs", "prompt_logprobs")
    return [getattr(request.result, name) for name in fields], [
        dataclasses.astuple(choice) for choice in request.result.choices
    ]
