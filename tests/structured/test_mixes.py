"""Any mix of requests with and without forms, in little memory, gives each what it gives alone and step by step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import genai.engine.strategies.sampling as sampling
from genai.config import GenerationConfig
from genai.engine import Engine, GenerationResult, Request
from genai.structured import GrammarCompiler
from genai.text import Tokenizer
from tests.fakes import FakeModel

EOS = 2
PERSON = {
    "type": "object",
    "properties": {"first_name": {"enum": ["Ada", "Bob"]}, "years_old": {"type": "integer", "maximum": 99}},
    "required": ["first_name", "years_old"],
    "additionalProperties": False,
}
FORMS: list[Any] = [
    None,
    PERSON,
    ["a long choice of words", "another one"],
    {"type": "regex", "regex": "(lazy|dog){2,9}"},
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.5, "seed": 3},
    {"temperature": 1.5, "seed": 3, "num_return_sequences": 2},
    {"repetition_penalty": 1.3},
    {"bad_words": ["q"]},
    {"logprobs": True},
    {"num_beams": 2},
    {"stop": ["o"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(model_folder: Any) -> Tokenizer:
    return Tokenizer.from_folder(model_folder("llama")[1])


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer.backend, [EOS])


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_mix(tokenizer: Tokenizer, compiler: GrammarCompiler, data: st.DataObject) -> None:
    limits: dict[str, Any] = {
        "vocab_size": 331,
        "context_length": 300,
        "switch_length": data.draw(st.sampled_from([None, 20])),
        "has_state": data.draw(st.booleans()),
        "max_batch": 5,
    }
    num_bytes = FakeModel(**limits).cache.shape.num_bytes(2, 50)  # what one request takes
    tight = {"max_bytes": num_bytes} if data.draw(st.booleans()) else {}
    kinds = st.tuples(
        st.lists(st.integers(3, 6), min_size=1, max_size=6), st.sampled_from(FORMS), st.sampled_from(OPTIONS)
    )
    asked = data.draw(st.lists(kinds, min_size=1, max_size=5))
    num_new = data.draw(st.integers(1, 40))

    def make(prompt: list[int], form: Any, options: dict[str, Any]) -> Request:
        config = GenerationConfig().merge(max_new_tokens=num_new, response_format=form, **options)
        grammar = None if config.response_format is None else compiler.compile(config.response_format)
        return Request(
            prompt,
            config,
            tokenizer=tokenizer,
            eos_token_ids=[EOS],
            make_constraint=None if grammar is None else lambda: grammar.constraint([EOS]),
            parse=None if grammar is None else grammar.parse,
        )

    together = run(FakeModel(**limits, **tight), [make(*each) for each in asked])
    alone = [run(FakeModel(**limits), [make(*each)])[0] for each in asked]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "MAX_FORCED_TOKENS", 0)
        slow = [run(FakeModel(**limits), [make(*each)])[0] for each in asked]
    for one, other, third in zip(together, alone, slow, strict=True):
        assert summary(one) == summary(other) == summary(third)


def run(model: FakeModel, requests: list[Request]) -> list[GenerationResult | str]:
    engine = Engine(model)
    for request in requests:
        engine.submit(request)
    while engine.has_work:
        engine.advance()
        engine.check()
    return [str(request.error) if request.result is None else request.result for request in requests]


def summary(result: GenerationResult | str) -> Any:
    if isinstance(result, str):
        return result
    choices = [
        (choice.token_ids, choice.text, choice.finish_reason, choice.parsed) for choice in result.choices
    ]
    return (result.token_ids, result.text, result.finish_reason, result.parsed, result.logprobs, choices)
