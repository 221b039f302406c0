"""What the tests of structured output share: the demo model's tokenizer, random walks through a grammar, random schemas."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from hypothesis import strategies as st

import genai
from genai.config import ResponseFormat
from genai.structured import Grammar, GrammarCompiler

EOS = 0
TOKENIZER = Path(genai.__file__).parent / "demo_model" / "tokenizer.json"


@cache
def backend() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(TOKENIZER))


@cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(backend(), [EOS])


def compile_form(value: Any) -> Grammar:
    form = ResponseFormat.of(value)
    assert form is not None
    return compiler().compile(form)


def walk(
    grammar: Grammar, seed: int, *, max_tokens: int = 150, forces: bool = True, hurries: bool = False
) -> list[int]:
    """Return tokens that random logits choose within a grammar, the end included where it comes to one.

    `hurries` prefers what closes texts, lists and objects, without which few would end.
    """
    constraint, random = grammar.constraint([EOS]), np.random.default_rng(seed)
    token_ids: list[int] = []
    while len(token_ids) < max_tokens and token_ids[-1:] != [EOS]:
        # One row of logits for each place, so that a walk that skips some still sees the same at the others.
        logits = random.normal(size=backend().get_vocab_size()).astype(np.float32) * 4
        if hurries:
            logits[_closing()] += 12
        forced = constraint.forced_token() if forces else None
        if forced is None:
            constraint.apply(logits)
            forced = int(logits.argmax())
            assert logits[forced] > -np.inf
        constraint.accept(forced)
        token_ids.append(forced)
    return token_ids


@cache
def _closing() -> list[int]:
    return [EOS, *(token_id for token, token_id in backend().get_vocab().items() if set(token) <= set('"}]'))]


def text_of(token_ids: list[int]) -> str:
    text: str = backend().decode([token_id for token_id in token_ids if token_id != EOS])
    return text


_NAMES = st.sampled_from(["a", "b", "name", "the_size", "größe", 'q"uote', "x y", "0"])
_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
_INTEGERS = st.integers(-1000, 1000)
_VALUES = st.one_of(st.none(), st.booleans(), _INTEGERS, _TEXTS)
_STRINGS = st.one_of(
    st.tuples(st.integers(0, 3), st.integers(3, 8)).map(
        lambda bounds: {"type": "string", "minLength": bounds[0], "maxLength": bounds[1]}
    ),
    st.sampled_from(["^[a-z]{2,5}$", "^x|y$", "[0-9]{3}", r"^\d+-\w{1,4}$", "^(é|日本)+.{0,3}$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern, "maxLength": 12}
    ),
    st.sampled_from(["date", "time", "date-time", "uuid", "ipv4", "duration"]).map(
        lambda name: {"type": "string", "format": name}
    ),
)


@st.composite
def _numbers(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    least = draw(st.none() | _INTEGERS)
    if least is not None:
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = least
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = (least or 0) + draw(
            st.integers(30, 99)
        )
    if schema["type"] == "integer" and draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 12))
    return schema


@st.composite
def _arrays(draw: st.DrawFn, items: st.SearchStrategy[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": draw(items)}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(items, min_size=1, max_size=2))
    least = draw(st.integers(0, 2))
    return {**schema, "minItems": least, "maxItems": least + draw(st.integers(0, 2))}


@st.composite
def _objects(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(_NAMES, values, max_size=4))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    schema["required"] = [name for name in properties if draw(st.booleans())]
    kind = draw(st.sampled_from(["closed", "closed", "open", "patterns"]))
    if kind == "open" and len(schema["required"]) == len(properties):
        schema |= {"additionalProperties": draw(values), "maxProperties": len(properties) + 2}
    else:
        schema["additionalProperties"] = False
    if kind == "patterns":
        schema["patternProperties"] = {"^[k-m]{1,3}$": draw(values)}
    return schema


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Return random schemas of which most texts come to an end."""
    leaves = st.one_of(
        st.just({"type": "null"}),
        st.just({"type": "boolean"}),
        st.just({"type": ["boolean", "null"]}),
        _numbers(),
        _STRINGS,
        _VALUES.map(lambda value: {"const": value}),
        st.lists(_VALUES, min_size=1, max_size=4).map(lambda values: {"enum": values}),
        st.just({"$ref": "#/$defs/shared"}),
    )
    parts = st.recursive(
        leaves,
        lambda inner: st.one_of(
            _arrays(inner),
            _objects(inner),
            st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
        ),
        max_leaves=8,
    )
    return st.tuples(parts, _numbers() | _STRINGS).map(lambda both: {**both[0], "$defs": {"shared": both[1]}})
