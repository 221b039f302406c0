from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import genai.structured.compiler as limits
from genai.config import ResponseFormat
from genai.errors import GenerationError, OptionError
from genai.structured import GrammarCompiler
from genai.structured.mask import TokenMask
from tests.structured.forms import EOS, backend, compile_form, text_of, walk
from tests.text.tokenizers_for_tests import KINDS

LARK = 'start: greeting ", " NAME\ngreeting: "hello" | "bye"\nNAME: /[A-Z][a-z]{1,5}/\n'
GBNF = 'root ::= ("hello" | "bye") ", " [A-Z] [a-z]{1,5}\n'


@pytest.mark.parametrize("source", [LARK, GBNF])
def test_grammars_of_both_kinds_say_the_same(source: str) -> None:
    grammar = compile_form({"type": "grammar", "grammar": source})
    assert grammar.accepts("hello, Anna")
    assert not grammar.accepts("hello, anna")
    assert grammar.accepts("bye, A", is_complete=False)
    assert not grammar.accepts("bye, A")
    token_ids = walk(grammar, 1)
    assert token_ids[-1] == EOS
    assert grammar.parse(text_of(token_ids)) == text_of(token_ids)


def test_what_looks_like_an_operator_in_a_text_is_none() -> None:
    grammar = compile_form({"type": "grammar", "grammar": 'start: "a&~b" /[~&]/ "x"~2 // & ~\n'})
    assert grammar.accepts("a&~b~xx")


def test_a_regex_is_of_the_whole_answer() -> None:
    grammar = compile_form({"type": "regex", "regex": "[0-9]+|none"})
    assert [grammar.accepts(text) for text in ("12", "none", "12 ", "x12", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_one_of_the_choices_is_said(texts: list[str], seed: int) -> None:
    grammar = compile_form(texts)
    assert all(grammar.accepts(text) for text in texts)
    token_ids = walk(grammar, seed)
    assert token_ids[-1] == EOS
    assert grammar.parse(text_of(token_ids)) in texts


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"type": "array", "uniqueItems": True}, '"uniqueItems"'),
        ({"properties": {"a": {"not": {"type": "null"}}}}, '"not"'),
        ({"items": {"contains": {}}}, '"contains"'),
        ({"if": {"type": "null"}, "then": {}}, '"if"'),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, '"propertyNames"'),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, '"dependentRequired"'),
        ({"$dynamicRef": "#a"}, '"$dynamicRef"'),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, '"oneOf"'),
        ({"type": "string", "format": "license-plate"}, '"format" of "license-plate"'),
        ({"type": "string", "pattern": "(?!a)b"}, "look-around"),
        ({"type": "object", "minProperties": 2}, '"minProperties"'),
        ({"type": "integer", "multipleOf": 123456789}, '"multipleOf"'),
        ({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}, '"multipleOf"'),
        ({"enum": ["x" * 20_000]}, "limit is 10000"),
        ({"enum": [f"value number {i}" for i in range(200_000)]}, "limit of json is 1000000"),
        ({"x-guidance": {"lenient": True}, "not": {}}, '"x-guidance"'),
        ({"type": "strin"}, 'there is no type "strin". Did you mean "string"?'),
        ({"type": "json_shema"}, 'there is no type "json_shema". Did you mean "json_schema"?'),
        ({"typ": "object"}, '"typ" is no keyword of JSON Schema. Did you mean "type"?'),
        ({"items": {"propertes": {}}}, '"propertes" is no keyword of JSON Schema. Did you mean "properties"?'),
        ({"const": 1, "qq": 1}, '"qq" is no keyword of JSON Schema. What checks nothing is called "x-..."'),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "nsatisfiable"),
        ({"$ref": "https://example.com/schema"}, "https://example.com/schema"),
        ({"const": 2**70, "not": {}}, '"not"'),
        ({"properties": {f"p{i}": {} for i in range(2000)}}, '"properties" with 2000 entries'),
        ({"anyOf": [{"properties": {"a": {"const": i}}} for i in range(2000)]}, '"anyOf" with 2000 entries'),
        (["x" * 20_000], "limit is 10000"),
        ({"type": "regex", "regex": "(a"}, 'the regex "(a" cannot be read at "(a": unclosed group'),
        ({"type": "regex", "regex": "x[0-9"}, 'the regex "x[0-9" cannot be read at "[0-9": unclosed character class'),
        ({"type": "regex", "regex": "a" * 200_000}, "limit of regex is 100000"),
        ({"type": "grammar", "grammar": "start: missing"}, "missing"),
        ({"type": "grammar", "grammar": "start: a\na[temperature=0.5]: /x+/"}, "temperature"),
        ({"type": "grammar", "grammar": "start: A\nA: /(.*a.{15}).*/ & ~/.*b.{15}.*/"}, '"&"'),
        ({"type": "grammar", "grammar": "start: A\nA: ~/.*b.{15}.*/"}, '"~"'),
        ({"type": "grammar", "grammar": "root ::= ("}, "GBNF"),
        ({"type": "grammar", "grammar": "root ::= missing"}, "the GBNF grammar cannot be read: Rule 'missing' not found"),
        ({"type": "grammar", "grammar": "root = bla"}, "read as Lark (in GBNF, rules have ::=), is wrong in line 1, column 6: "),
        ({"type": "grammar", "grammar": "start: " + ' "a" |' * 20_000 + '"b"'}, "limit of lark is 50000"),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_refused_by_name(form: Any, named: str) -> None:
    with pytest.raises(OptionError, match="response_format") as caught:
        compile_form(form)
    assert named in str(caught.value)


def test_alternatives_that_a_key_tells_apart_may_stand_in_one_of() -> None:
    def shape(kind: str) -> dict[str, Any]:
        properties = {"kind": {"const": kind}, kind: {"type": "integer"}}
        return {
            "type": "object",
            "properties": properties,
            "required": ["kind", kind],
            "additionalProperties": False,
        }

    definitions = {"circle": shape("circle"), "square": shape("square")}
    references = [{"$ref": f"#/$defs/{name}"} for name in definitions]
    grammar = compile_form({"oneOf": references, "$defs": definitions})
    assert grammar.accepts('{"kind": "square", "square": 2}')
    assert not grammar.accepts('{"kind": "square", "circle": 2}')
    with pytest.raises(OptionError, match="oneOf"):
        compile_form({"oneOf": [references[0], references[0]], "$defs": definitions})


def test_properties_named_as_keywords_are_data() -> None:
    schema = {"type": "object", "properties": {"multipleOf": {"const": 10**9}, "minProperties": {"const": 7}}}
    assert compile_form(schema).accepts('{"multipleOf": 1000000000, "minProperties": 7}')


class Address(pydantic.BaseModel):
    city: str


class Person(pydantic.BaseModel):
    name: str
    address: Address
    notes: dict[str, int] = {}


class Anything(pydantic.BaseModel, extra="allow"):
    name: str


@pytest.mark.parametrize(
    ("model", "text", "is_accepted"),
    [
        (Person, '{"name": "a", "address": {"city": "b"}, "notes": {"x": 1}}', True),
        (Person, '{"name": "a", "address": {"city": "b"}, "more": 1}', False),
        (Person, '{"name": "a", "address": {"city": "b", "more": 1}}', False),
        (Anything, '{"name": "a", "more": 1}', True),
    ],
)
def test_a_pydantic_model_has_no_room_for_what_it_would_ignore(
    model: type, text: str, is_accepted: bool
) -> None:
    assert compile_form(model).accepts(text) == is_accepted


def test_what_a_keyword_only_tells_and_what_is_data_may_have_any_name() -> None:
    data = {"typ": "object"}
    schema = {"const": data, "default": data, "examples": [data], "x-order": 1, "markdownDescription": "m"}
    assert compile_form(schema).accepts('{"typ": "object"}')
    assert compile_form({"properties": {"typ": {"enum": [data]}}}).accepts('{"typ": {"typ": "object"}}')


def test_grammars_are_kept_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = GrammarCompiler(backend(), [EOS])
    forms = [ResponseFormat.choices([f"choice {i}"]) for i in range(4)]
    first = compiler.compile(forms[0])
    assert compiler.compile(ResponseFormat.choices(["choice 0"])) is first
    monkeypatch.setattr(limits, "MAX_CACHED_FORMS", 2)
    compiler.compile(forms[1])
    assert compiler.compile(forms[0]) is first
    compiler.compile(forms[2])
    assert compiler.compile(forms[0]) is first, "the one that was used last stays"
    monkeypatch.setattr(limits, "MAX_CACHED_SIZE", len(forms[3].source))
    compiler.compile(forms[3])
    assert compiler.compile(forms[0]) is not first


def test_threads_compile_at_a_time() -> None:
    compiler, done = GrammarCompiler(backend(), [EOS]), []
    threads = [
        threading.Thread(
            target=lambda i=i: done.append(compiler.compile(ResponseFormat.choices([f"{i % 3}"])))
        )
        for i in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_of_bytes_is_followed_and_another_kind_is_refused(kind: str) -> None:
    tokenizer = KINDS[kind]()
    compiler = GrammarCompiler(tokenizer, [2])
    form = ResponseFormat.json_schema({"const": "naïve 日本"})
    if kind not in ("byte_level", "sentencepiece", "gemma"):
        with pytest.raises(OptionError, match="tokens stand for bytes"):
            compiler.compile(form)
        return
    constraint = compiler.compile(form).constraint([2])
    token_ids: list[int] = []
    while token_ids[-1:] != [2]:
        logits = np.zeros(
            tokenizer.get_vocab_size() + 37, np.float32
        )  # a model may have more logits than tokens
        constraint.apply(logits)
        token_ids.append(int(logits.argmax()))
        constraint.accept(token_ids[-1])
    assert tokenizer.decode(token_ids[:-1]) == '"naïve 日本"'


def test_a_model_without_an_end_is_refused() -> None:
    with pytest.raises(OptionError, match="eos_token_ids"):
        GrammarCompiler(backend(), []).compile(ResponseFormat.json_object())
    assert GrammarCompiler(backend(), []).compile(ResponseFormat.json_object(), [EOS]).accepts("{}")


def test_a_constraint_that_took_what_it_forbids_forbids_everything() -> None:
    constraint = compile_form(["yes"]).constraint([EOS])
    twin = constraint.copy()
    constraint.accept(backend().encode("no").ids[0])
    logits = np.zeros(backend().get_vocab_size(), np.float32)
    constraint.apply(logits)
    assert (logits == -np.inf).all()
    assert constraint.forced_token() is None
    assert twin.forced_token() is not None


def test_only_where_a_text_is_complete_the_ends_are_allowed_and_the_first_where_nothing_follows() -> None:
    constraint = compile_form({"type": "regex", "regex": "a{1,2}"}).constraint([7, EOS, 5000])
    (a,) = backend().encode("a").ids

    def allowed() -> set[int]:
        logits = np.zeros(6000, np.float32)
        constraint.apply(logits)
        return set(np.isfinite(logits).nonzero()[0].tolist())

    assert not allowed() & {7, EOS, 5000}
    constraint.accept(a)
    assert allowed() >= {7, EOS, a}
    constraint.accept(a)
    assert allowed() == {7}


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 230))
def test_a_mask_forbids_what_has_no_bit(bits: list[bool], num_logits: int) -> None:
    mask = TokenMask(len(bits))
    for token_id, bit in enumerate(bits):
        mask.set(token_id, is_allowed=not bit)
        mask.set(token_id, is_allowed=bit)
        assert (token_id in mask) == bit
    logits = np.arange(num_logits, dtype=np.float32)
    mask.apply(logits)
    for token_id, value in enumerate(logits):
        assert value == (token_id if token_id < len(bits) and bits[token_id] else -np.inf)


def test_what_python_cannot_hold_is_an_error_that_says_so() -> None:
    grammar = compile_form({"type": "integer"})
    with pytest.raises(GenerationError, match="cannot be read"):
        grammar.parse("1" * 5000)
    assert grammar.parse("1 2") is None


def test_schemas_in_a_grammar_are_enforced_as_a_form_is() -> None:
    one, other = ({"type": "object", "properties": {"k": {"const": k}}, "required": ["k"]} for k in "ab")
    text = f'start: "%json {{" x\nx: %json {json.dumps({"oneOf": [one, other]})}\n'
    grammar = compile_form({"type": "grammar", "grammar": text})
    assert grammar.accepts('%json {{"k": "b"}')
    assert not grammar.accepts('%json {{"k": "c"}')
    for schema, message in (('{"minProperties": 3}', "minProperties"), ("{3}", "cannot be read")):
        with pytest.raises(OptionError, match=message):
            compile_form({"type": "grammar", "grammar": f"start: %json {schema}"})
