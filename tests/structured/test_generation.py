"""Structured output end to end: a small random model, the demo model, and the engine over the fake one."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import genai.engine.strategies.sampling as sampling
from genai import Generator, Message, ResponseFormat
from genai.config import GenerationConfig
from genai.engine import Engine, GenerationResult, Request
from genai.errors import GenerationError, OptionError
from genai.structured import GrammarCompiler
from genai.text import Tokenizer
from tests.fakes import FakeModel
from tests.structured.forms import TOKENIZER, schemas

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name_of_it": {"type": "string", "maxLength": 6},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["small", "smaller", "large"]},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["name_of_it", "size", "kind", "flags"],
    "additionalProperties": False,
}
SMALL = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 3}, "kind": {"enum": ["a", "bc"]}},
    "required": ["name", "kind"],
    "additionalProperties": False,
}
PROMPTS = ["the quick", "brown fox", "lazy dog the"]


@pytest.fixture(scope="module")
def generator(model_folder: Any) -> Iterator[Generator]:
    """A random llama, whose logits are as good as noise."""
    with Generator(model_folder("llama")[1], max_batch=8) as opened:
        yield opened


def check(result: GenerationResult, schema: dict[str, Any] = SCHEMA) -> None:
    if result.finish_reason == "stop":
        assert result.parsed == json.loads(result.text)
        jsonschema.validate(result.parsed, schema)
    else:
        assert result.parsed is None


def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_FORCED_TOKENS", 0)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_generated_fits_the_schema(generator: Generator, seed: int) -> None:
    result = generator.generate(
        PROMPTS[0], response_format=SCHEMA, temperature=1.5, seed=seed, max_new_tokens=150
    )
    assert result.finish_reason == "stop"
    check(result)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(schemas(), st.integers(0, 1000))
def test_random_schemas(generator: Generator, schema: dict[str, Any], seed: int) -> None:
    options: Any = {"response_format": schema, "temperature": 2.0, "seed": seed, "max_new_tokens": 60}
    try:
        result = generator.generate(PROMPTS[1], **options)
    except OptionError:
        reject()
    check(result, schema)
    pieces = list(generator.stream(PROMPTS[1], **options))
    assert "".join(piece.text for piece in pieces) == result.text
    assert tuple(token_id for piece in pieces for token_id in piece.token_ids) == result.token_ids


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.3, "seed": 5}, {"repetition_penalty": 1.5}, {"logit_bias": {40: 3.0}}]
)
def test_forced_tokens_are_those_of_the_mask_alone(
    generator: Generator, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[GenerationResult]:
        return generator.generate(PROMPTS, response_format=SCHEMA, max_new_tokens=120, **options)

    fast = run()
    slowly(monkeypatch)
    for result, slow in zip(fast, run(), strict=True):
        assert (result.text, result.token_ids, result.finish_reason) == (
            slow.text,
            slow.token_ids,
            slow.finish_reason,
        )


def test_log_probabilities_are_those_of_every_token(generator: Generator) -> None:
    plain = generator.generate(PROMPTS[0], response_format=SCHEMA, max_new_tokens=120)
    scored = generator.generate(PROMPTS[0], response_format=SCHEMA, max_new_tokens=120, logprobs=True)
    assert scored.token_ids == plain.token_ids
    assert scored.logprobs is not None
    assert tuple(entry.token_id for entry in scored.logprobs) == scored.token_ids


def test_each_of_several_sequences_and_beams_fits(generator: Generator) -> None:
    several = generator.generate(
        PROMPTS[0],
        response_format=SMALL,
        num_return_sequences=3,
        temperature=2.0,
        seed=3,
        max_new_tokens=150,
    )
    beams = generator.generate(
        PROMPTS[0], response_format=SMALL, num_beams=3, num_return_sequences=3, max_new_tokens=150
    )
    for result in (several, beams):
        assert len(result.choices) == 3
        for choice in result.choices:
            assert choice.finish_reason == "stop"
            assert choice.parsed == json.loads(choice.text)
            jsonschema.validate(choice.parsed, SMALL)
    assert len({choice.text for choice in several.choices}) > 1


@pytest.mark.parametrize("num_beams", [1, 2, 4])
@pytest.mark.parametrize("choices", [["the"], ["the", "quick fox"], ["a", "b", "the lazy dog", "over"]])
def test_more_beams_than_choices(generator: Generator, choices: list[str], num_beams: int) -> None:
    result = generator.generate(
        PROMPTS[0],
        response_format=choices,
        num_beams=num_beams,
        num_return_sequences=num_beams,
        do_sample=False,
        max_new_tokens=40,
    )
    assert result.parsed in choices
    for choice in result.choices:
        assert choice.text in choices
        assert choice.parsed == choice.text


def test_a_batch_of_other_requests_changes_nothing(generator: Generator) -> None:
    asked: list[dict[str, Any]] = [
        {"response_format": SCHEMA},
        {},
        {"response_format": ["the fox", "the dog"]},
        {"temperature": 1.1, "seed": 4},
        {"response_format": {"type": "regex", "regex": "[a-z]{3} [0-9]{2,9}"}, "temperature": 1.2, "seed": 1},
    ]
    alone = [generator.generate(PROMPTS[0], max_new_tokens=60, **options) for options in asked]
    streams = [generator.stream(PROMPTS[0], max_new_tokens=60, **options) for options in asked]
    for stream in streams:
        list(stream)
    together = [stream.result for stream in streams]
    for single, other in zip(alone, together, strict=True):
        assert other is not None
        assert (single.token_ids, single.text, single.parsed) == (other.token_ids, other.text, other.parsed)


def test_it_works_in_a_chat_and_asynchronously(generator: Generator) -> None:
    messages = [Message("user", "the quick brown fox")]
    expected = generator.chat(messages, response_format=SCHEMA, max_new_tokens=120)
    check(expected)

    async def both() -> list[GenerationResult]:
        return list(
            await asyncio.gather(
                generator.achat(messages, response_format=SCHEMA, max_new_tokens=120),
                generator.achat(messages, response_format=["the"], max_new_tokens=120),
            )
        )

    first, second = asyncio.run(both())
    assert (first.text, first.parsed) == (expected.text, expected.parsed)
    assert second.parsed == "the"


@pytest.mark.parametrize(
    ("chunk", "kind"), [(1, {}), (512, {}), (3, {"has_state": True}), (512, {"switch_length": 40})]
)
def test_a_preempted_request_goes_on_where_it_was(
    chunk: int, kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch, model_folder: Any
) -> None:
    tokenizer = Tokenizer.from_folder(model_folder("llama")[1])
    grammar = GrammarCompiler(tokenizer.backend, [2]).compile(ResponseFormat.json_schema(SCHEMA))

    def make(prompt: list[int], config: GenerationConfig) -> Request:
        return Request(
            prompt,
            config,
            tokenizer=tokenizer,
            eos_token_ids=[2],
            make_constraint=lambda: grammar.constraint([2]),
            parse=grammar.parse,
        )

    def run(model: FakeModel) -> list[GenerationResult]:
        config = GenerationConfig(max_new_tokens=90, do_sample=False)
        requests = [make([i, 1, 2], config) for i in range(4)]
        engine = Engine(model, prefill_chunk=chunk)
        for request in requests:
            engine.submit(request)
        while engine.has_work:
            engine.advance()
            engine.check()
        preempted.append(sum(request.num_preemptions for request in requests))
        return [request.result for request in requests if request.result is not None]

    preempted: list[int] = []
    wide = FakeModel(vocab_size=331, context_length=200, **kind)
    position_bytes = wide.cache.shape.bytes_per_position
    fast = run(wide)
    tight = run(FakeModel(vocab_size=331, context_length=200, max_bytes=2 * 100 * position_bytes, **kind))
    slowly(monkeypatch)
    slow = run(FakeModel(vocab_size=331, context_length=200, **kind))
    assert preempted[0] == 0
    assert preempted[1] > 0
    for several in zip(fast, tight, slow, strict=True):
        check(several[0])
        assert len({result.token_ids for result in several}) == 1


def test_what_does_not_go_with_it(generator: Generator) -> None:
    with pytest.raises(OptionError, match="ignore_eos cannot be combined with response_format"):
        generator.generate("the", response_format=SCHEMA, ignore_eos=True)
    with pytest.raises(OptionError, match="eos_token_ids names none"):
        generator.generate("the", response_format=SCHEMA, eos_token_ids=[])
    with pytest.raises(GenerationError, match=r"min_new_tokens.*response_format"):
        generator.generate("the", response_format=["the"], min_new_tokens=20)
    with pytest.raises(GenerationError, match=r"suppress_tokens.*response_format"):
        generator.generate("the", response_format=["Q"], suppress_tokens=generator.tokenizer.encode("Q"))
    with pytest.raises(GenerationError, match="in every beam"):
        generator.generate(
            "the", response_format=["Q"], suppress_tokens=generator.tokenizer.encode("Q"), num_beams=2
        )


def test_a_stop_text_still_cuts_and_what_is_left_is_not_read(generator: Generator) -> None:
    form = {"type": "regex", "regex": "[a-c]{4}-[0-9]{2}"}
    whole = generator.generate("the", response_format=form)
    assert whole.parsed == whole.text
    cut = generator.generate("the", response_format=form, stop=["-"])
    assert (cut.text, cut.finish_reason, cut.parsed) == (whole.text[:4], "stop", None)


def test_a_stop_token_ends_only_what_is_complete(generator: Generator) -> None:
    form = {"type": "regex", "regex": "[a-c]{4}"}
    result = generator.generate("the", response_format=form, eos_token_ids=[1], stop_token_ids=[0])
    assert result.token_ids[-1] == 1
    assert result.parsed == result.text


class Kind(enum.Enum):
    NEAR = "near"
    FAR = "far away"


@dataclasses.dataclass
class Place:
    kind: Kind
    distance: float
    way: Literal["up", "down"] | None
    parts: tuple[bool, int]
    within: Place | None = None


@dataclasses.dataclass
class Trip:
    places: list[Place]
    costs: dict[str, int] = dataclasses.field(default_factory=dict)


def test_dataclasses_are_read_back() -> None:
    form = ResponseFormat.of(Trip)
    assert form is not None
    place = {"kind": "far away", "distance": 2, "way": None, "parts": [True, 3], "within": None}
    outer = {**place, "way": "up", "within": place}
    jsonschema.validate({"places": [outer]}, json.loads(form.source))
    inner = Place(Kind.FAR, 2.0, None, (True, 3))
    trip = form.parse(json.dumps({"places": [outer], "costs": {"a": 1}}))
    assert trip == Trip([Place(Kind.FAR, 2.0, "up", (True, 3), inner)], {"a": 1})
    assert isinstance(trip.places[0].distance, float)
    for wrong in ({"places": [{**place, "kind": "x"}]}, {"places": 1}, {"places": [], "other": 1}):
        with pytest.raises(ValueError, match=r"is no|is not a valid|is none of"):
            form.parse(json.dumps(wrong))


def test_a_dataclass_comes_out_of_a_generation(generator: Generator) -> None:
    @dataclasses.dataclass
    class Small:
        size: Literal[1, 20, 300]
        is_new: bool

    result = generator.generate("the", response_format=Small)
    assert isinstance(result.parsed, Small)
    assert dataclasses.asdict(result.parsed) == json.loads(result.text)


def test_a_pydantic_model_comes_out_of_a_generation(generator: Generator) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel, extra="forbid"):
        kind: Literal["inner"]
        size: int = pydantic.Field(ge=0, le=9)

    class Other(pydantic.BaseModel, extra="forbid"):
        kind: Literal["other"]

    class Outer(pydantic.BaseModel, extra="forbid"):
        parts: list[Inner | Other] = pydantic.Field(max_length=2)
        one: Inner | Other = pydantic.Field(discriminator="kind")

    class Picky(pydantic.BaseModel, extra="forbid"):
        size: Literal[1, 2]

        @pydantic.field_validator("size")
        @classmethod
        def refuse(cls, value: int) -> int:
            raise ValueError(f"{value} will not do")

    result = generator.generate("the", response_format=Outer, max_new_tokens=240)
    assert isinstance(result.parsed, Outer)
    with pytest.raises(GenerationError, match="will not do"):
        generator.generate("the", response_format=Picky)


@pytest.mark.parametrize(
    "value",
    [
        "xml",
        3,
        int,
        [],
        [""],
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {}},
        {"type": "regex"},
        {"type": "regex", "regex": 3},
        {"type": "regex", "regex": "a", "flags": "i"},
        {"type": "json_object", "shema": {}},
        {"type": "grammar", "grammar": "start: x", "syntax": "ebnf"},
        {"const": float("nan")},
        {"const": {1, 2}},
        ["\ud800"],
    ],
)
def test_what_is_no_form_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match="response_format"):
        GenerationConfig(response_format=value)


def test_a_form_is_said_in_many_ways() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    same = [
        schema,
        {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        {"type": "json_schema", "name": "x", "strict": True, "schema": schema},
        {"type": "json_object", "schema": schema},
        ResponseFormat.json_schema(schema),
    ]
    assert len({ResponseFormat.of(each) for each in same}) == 1
    assert (
        ResponseFormat.of("json")
        == ResponseFormat.of({"type": "json_object"})
        == ResponseFormat.json_object()
    )
    assert ResponseFormat.of({"type": "text"}) is None
    assert GenerationConfig(response_format=["a"]).merge(seed=1).response_format == ResponseFormat.choices(
        ["a"]
    )


def test_a_text_in_form_keeps_its_spaces(tmp_path: Path) -> None:
    folder = shutil.copytree(TOKENIZER.parent, tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["clean_up_tokenization_spaces"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with Generator(folder) as generator:
        for num_beams in (1, 2):
            result = generator.generate("a", response_format=["it is n't , is it ?"], num_beams=num_beams)
            assert result.text == result.parsed == "it is n't , is it ?"
        stream = generator.stream("a", response_format=["it is n't , is it ?"])
        assert "".join(piece.text for piece in stream) == result.text


def test_the_demo_model_answers_in_form() -> None:
    with Generator("demo") as generator:
        result = generator.chat([Message("user", "Is ONNX a format?")], response_format=["yes", "no"])
    assert result.parsed in ("yes", "no")
