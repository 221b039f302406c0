"""Calls that a model begins by itself, in every format: right by construction from there on, and free before."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import numpy.typing as npt
import pytest

from genai import GenerationResult, Generator, Message, OptionError
from genai.cache import Slot
from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.sampling import Sampler
from genai.structured import AnswerForm, GrammarCompiler, Trigger
from genai.text import Tokenizer
from genai.tools import FORMATS, AnswerDelta, AnswerParts, ToolFormat
from tests.fakes import FakeModel
from tests.scripted import THINKING, ScriptedModel, make_scripted
from tests.structured.forms import EOS, backend
from tests.tools.recorded import RECORDED
from tests.tools.test_grammar import MARKERS

ASK = [Message("user", "How warm is it in Paris?")]
TOOLS: list[dict[str, Any]] = [
    {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Paris", "Rome", "New York"]},
                "days": {"type": "integer"},
                "detailed": {"type": "boolean"},
                "unit": {"anyOf": [{"const": "C"}, {"type": "null"}]},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
    {"name": "get_time", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}},
]
SCHEMAS = {tool["name"]: tool["parameters"] for tool in TOOLS}
LATE = [each for each in FORMATS if each.trigger]
CLOSING = ("]", "}", ")", ">", "</", '"', "\n", ",", "<", "end")
Make = Callable[..., tuple[Generator, ScriptedModel]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(
        said: str, *, template: str, special: Sequence[str] = (), tools: Any = TOOLS
    ) -> tuple[Generator, ScriptedModel]:
        """A model that says a text, whatever it was asked, and goes on with noise, in which what closes is likelier."""
        generator, model = make_scripted(tmp_path, monkeypatch, [], template=template, special_tokens=special)
        tokenizer = generator.tokenizer
        start = len(generator.build_request(messages=ASK, tools=tools).prompt_token_ids)
        script = tokenizer.encode(said, add_special_tokens=False)
        texts = [tokenizer.decode([i], skip_special_tokens=False) for i in range(tokenizer.vocab_size)]
        bonus = np.array([3.0 * text.strip(" ").startswith(CLOSING) for text in texts])
        bonus[tokenizer.eos_token_id] = 6

        def logits(slot: Slot) -> npt.NDArray[np.float32]:
            ids = slot.token_ids
            values = np.random.default_rng(abs(hash(tuple(ids)))).normal(size=model.vocab_size)
            values[: bonus.size] += bonus
            if start <= len(ids) < start + len(script):
                values[script[len(ids) - start]] += 60
            return values.astype(np.float32)

        monkeypatch.setattr(model, "_logits", logits)
        return generator, model

    return make


def template_of(tool_format: ToolFormat) -> str:
    found_by = " ".join(tool_format.found_by[0])
    return (
        f"{{# {found_by} #}}{{% for m in messages %}}{{{{ m.role }}}}: {{{{ m.content or '' }}}}\n{{% endfor %}}"
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
    )


def check(result: Any) -> int:
    """See that what has ended by itself consists of right calls, and return how many."""
    for call in result.tool_calls:
        jsonschema.validate(call.arguments, SCHEMAS[call.name])
    if result.finish_reason == "stop":
        assert result.tool_calls
        assert result.text.strip() in ("I look.", ""), result.text
    return len(result.tool_calls)


def of(result: Any) -> tuple[Any, ...]:
    return result.text, result.reasoning, [(call.name, call.arguments) for call in result.tool_calls]


@pytest.mark.parametrize("special", [(), MARKERS], ids=["texts", "tokens"])
@pytest.mark.parametrize("tool_format", LATE, ids=lambda each: each.name)
def test_a_call_that_is_begun_is_one_of_a_known_function(
    make: Make, tool_format: ToolFormat, special: Sequence[str]
) -> None:
    generator, _ = make(f"I look. {tool_format.trigger}", template=template_of(tool_format), special=special)
    options: Any = {"tools": TOOLS, "temperature": 1.0, "max_new_tokens": 400}
    ended = num_calls = 0
    for seed in range(5):
        result = generator.chat(ASK, seed=seed, **options)
        num_calls += check(result)
        ended += result.finish_reason == "stop"
    assert ended
    assert num_calls >= ended
    greedy = generator.chat(ASK, tools=TOOLS, do_sample=False, max_new_tokens=400)
    check(greedy)
    parts = AnswerParts()
    for piece in generator.stream_chat(ASK, tools=TOOLS, do_sample=False, max_new_tokens=400):
        parts.add([AnswerDelta(piece.text, piece.reasoning, piece.tool_calls)])
    assert of(parts.answer) == of(greedy)


@pytest.mark.parametrize("special", [(), MARKERS], ids=["texts", "tokens"])
@pytest.mark.parametrize("name", ["hermes", "harmony", "qwen3-coder"])
def test_several_sequences_beams_and_guesses_are_as_alone(
    make: Make, name: str, special: Sequence[str]
) -> None:
    (tool_format,) = [each for each in FORMATS if each.name == name]
    generator, _ = make(f"I look. {tool_format.trigger}", template=template_of(tool_format), special=special)

    def chat(**options: Any) -> GenerationResult:
        return generator.chat(ASK, tools=TOOLS, max_new_tokens=400, **options)

    plain = chat(do_sample=False)
    assert chat(do_sample=False, speculative="ngram", num_draft_tokens=4).token_ids == plain.token_ids
    several = chat(num_return_sequences=4, seed=1, temperature=1.0)
    assert [check(choice) for choice in several.choices]
    assert len({choice.token_ids for choice in several.choices}) > 1
    guessed = chat(num_return_sequences=4, seed=1, temperature=1.0, speculative="ngram")
    assert [each.token_ids for each in guessed.choices] == [each.token_ids for each in several.choices]
    beams = chat(num_beams=3, num_return_sequences=3, do_sample=False)
    decoded = [
        generator.tokenizer.decode(each.token_ids, skip_special_tokens=False) for each in beams.choices
    ]
    begun = [each for each, text in zip(beams.choices, decoded, strict=True) if tool_format.trigger in text]
    assert all(check(each) for each in begun)  # others have kept from calling
    assert begun or name == "harmony"


@pytest.mark.parametrize("kind", [{}, {"has_state": True}], ids=["attention", "state"])
def test_a_preempted_request_goes_on_where_it_was(kind: dict[str, Any], model_folder: Any) -> None:
    tokenizer = Tokenizer.from_folder(model_folder("llama")[1])
    frame = 'start: text /[a-z ]{20,30}/ /9{5}/\ntext[suffix="e"]: /(?s:.*)/\n'
    grammar = GrammarCompiler(tokenizer.backend, [2]).compile(AnswerForm(None, frame=frame))

    def run(**limits: Any) -> tuple[list[GenerationResult], int]:
        model = FakeModel(vocab_size=331, context_length=200, **kind, **limits)
        config = GenerationConfig(max_new_tokens=56, temperature=2.0, seed=3)
        requests = [
            Request(
                [i, 1, 2],
                config,
                tokenizer=tokenizer,
                eos_token_ids=[2],
                make_constraint=lambda: grammar.late_constraint(Trigger("e"), [2]),
            )
            for i in range(4)
        ]
        engine = Engine(model, prefill_chunk=3)
        for request in requests:
            engine.submit(request)
        while engine.has_work:
            engine.advance()
            engine.check()
        return [each.result for each in requests if each.result], sum(
            each.num_preemptions for each in requests
        )

    wide, none = run()
    position_bytes = FakeModel(vocab_size=331, context_length=200, **kind).cache.shape.bytes_per_position
    tight, several = run(max_bytes=2 * 60 * position_bytes)
    assert none == 0
    assert several > 0
    assert [each.token_ids for each in tight] == [each.token_ids for each in wide]
    ended = [each.text for each in wide if each.finish_reason == "stop" and "e" in each.text]
    assert ended
    for text in ended:
        assert text.endswith("99999")


@pytest.mark.parametrize(
    "special", [(), ("<think>", "</think>", "<tool_call>", "</tool_call>")], ids=["texts", "tokens"]
)
def test_a_marker_that_is_thought_of_begins_nothing(make: Make, special: Sequence[str]) -> None:
    said = "I could <tool_call> it.</think>\n\nNo:"
    generator, _ = make(said, template=THINKING, special=special)
    result = generator.chat(ASK, tools=TOOLS, temperature=1.0, seed=0, max_new_tokens=30)
    assert result.reasoning == "I could <tool_call> it." or special
    assert result.text.startswith("No:")


def test_what_is_written_another_way_is_left_alone(make: Make) -> None:
    hermes = next(each for each in FORMATS if each.name == "hermes")
    generator, _ = make('<tool_call>{"name": "get_moon", "x": [', template=template_of(hermes))
    script = generator.tokenizer.encode('<tool_call>{"name": "get_moon"', add_special_tokens=False)
    forced = generator.chat(ASK, tools=TOOLS, do_sample=False, max_new_tokens=len(script))
    assert list(forced.token_ids) != script


def test_what_nobody_asked_for_is_no_error(make: Make) -> None:
    """A schema that cannot be enforced, and an end that is not to end the answer."""
    hermes = next(each for each in FORMATS if each.name == "hermes")
    said = '<tool_call>{"name": "f", "arguments": {"a": [1, 1]}}</tool_call>'
    tools = [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"uniqueItems": True}}}}]
    generator, _ = make(said, template=template_of(hermes), tools=tools)
    result = generator.chat(ASK, tools=tools, do_sample=False, max_new_tokens=60)
    assert result.tool_calls[0].arguments == {"a": [1, 1]}
    with pytest.raises(OptionError, match=r'tool_choice: the schema has keywords.*"uniqueItems"'):
        generator.chat(ASK, tools=tools, tool_choice="required")
    tools = [{"name": "f", "parameters": {"type": "object", "minProperties": 3}}]
    with pytest.raises(OptionError, match='tool_choice: f: "minProperties" of 3 cannot be enforced'):
        generator.chat(ASK, tools=tools, tool_choice="required")
    assert generator.chat(ASK, tools=tools, ignore_eos=True, max_new_tokens=80).finish_reason == "length"


def make_sampler(constraint: Any, **options: Any) -> Sampler:
    return Sampler(
        GenerationConfig(**options),
        vocab_size=backend().get_vocab_size(),
        prompt_token_ids=[1],
        eos_token_ids=[EOS],
        constraint=constraint,
        seed=0,
    )


def test_nothing_is_asked_of_it_before() -> None:
    frame = 'start: text "ab" /c{3}/\ntext[suffix="<call>"]: /(?s:.*)/\n'
    grammar = GrammarCompiler(backend(), [EOS]).compile(AnswerForm(None, frame=frame))
    constraint = grammar.late_constraint(Trigger("<call>"), [EOS])
    sampler, logits = (
        make_sampler(constraint, do_sample=False),
        np.zeros(backend().get_vocab_size(), np.float32),
    )
    ids = backend().encode("x <cal< <call>", add_special_tokens=False).ids
    for token_id in ids:
        assert sampler.is_argmax
        assert sampler.process_logits(logits) is logits
        assert sampler.forced_token() is None
        sampler.accept(token_id)
    twin = sampler.copy()
    assert not sampler.is_argmax
    said = ""
    while (token_id := sampler.sample(logits).token_id) != EOS:
        said += backend().decode([token_id])
        sampler.accept(token_id)
    assert said == "abccc"
    (other,) = backend().encode("q", add_special_tokens=False).ids
    twin.accept(other)  # as nothing that samples would, it leaves the grammar: the constraint lets go
    assert twin.is_argmax


def test_it_never_fails() -> None:
    grammar = GrammarCompiler(backend(), [EOS]).compile(AnswerForm(None, frame='start: "<call>" "ab"'))
    constraint = grammar.late_constraint(Trigger("<call>"), [EOS])
    for token_id in backend().encode("<call>", add_special_tokens=False).ids:
        constraint.accept(token_id)
    logits = np.full(backend().get_vocab_size(), -np.inf, np.float32)
    logits[backend().encode("q", add_special_tokens=False).ids] = 1  # what other options leave
    before = logits.copy()
    constraint.apply(logits)
    assert (logits == before).all()


def test_every_call_that_was_recorded_can_be_begun() -> None:
    for each in RECORDED:
        tool_format = next(known for known in FORMATS if known.name == each.format)
        if each.is_canonical and tool_format.trigger:
            assert tool_format.trigger in each.text, json.dumps(each.text)
