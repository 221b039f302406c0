"""What is told to programs of a body is what is read: no field more or less, and no value."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genai.wire
from genai.config import CODE_OPTIONS, GenerationConfig, option_schemas, options_of
from genai.errors import OptionError
from genai.wire import (
    DETOKENIZE,
    EMBEDDING,
    INTERFACES,
    TOKENIZE,
    Schema,
    count_schema,
    fields,
    read_body,
    read_count_request,
    read_detokenize_request,
    read_embedding_request,
    read_tokenize_request,
    tokenization,
)
from tests.json_values import any_values, values_of

FURTHER_RULES = {"stop_regex", "response_format", "watermarking_config", "samplers"}
"""Options of whose values a schema does not say all: patterns, forms, secrets that are too large, names given twice."""
ANY = any_values()
REFUSALS = ('unknown field "%s"', "%s: an answer has no place", "%s is given twice")
OUTLINED = {
    *("messages", "input", "system", "tools", "tool_choice", "thinking", "output_config"),
    *(
        "format",
        "options",
        "keep_alive",
        "think",
        "reasoning",
        "reasoning_effort",
        "text",
        "include",
        "metadata",
    ),
}
"""Fields of which some interface's schema says only the kind of value."""
IN_FULL = ("/v1/chat/completions", "tokenize")
TOGETHER = {"top_logprobs": {"logprobs": True}, "stream_options": {"stream": True}}
"""What a field needs beside it."""


@pytest.mark.parametrize("name", option_schemas())
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_an_option_takes_what_its_schema_allows(name: str, data: st.DataObject) -> None:
    check, schema = options_of(GenerationConfig)[name].check, option_schemas()[name]
    value = data.draw(values_for(schema_text(schema)))
    if value is None:
        return  # what null means, the body says
    try:
        check(name, _as_python(name, value))
        is_taken = True
    except OptionError:
        is_taken = False
    if is_taken or name not in FURTHER_RULES:
        assert is_taken == is_valid(value, schema)


def test_options_that_json_has_no_values_of_are_not_told() -> None:
    assert options_of(GenerationConfig).keys() - option_schemas().keys() == set(CODE_OPTIONS)
    for name in CODE_OPTIONS:
        assert not is_valid("f", options_of(GenerationConfig)[name].check.schema)


def _bodies() -> Iterator[tuple[str, Callable[[Any], Any], Schema, dict[str, Any]]]:
    """Yield the name of each body that is described, what reads it, its schema, and the least that it must have."""
    for path, interface in INTERFACES.items():
        schema = interface.schemas().body
        yield path, interface.read, schema, _least(schema)
    yield "count_tokens", read_count_request, count_schema(), {"messages": [{"role": "user", "content": "a"}]}
    yield "embeddings", read_embedding_request, EMBEDDING, {"input": "a"}
    yield "detokenize", read_detokenize_request, DETOKENIZE, {"tokens": [1]}
    yield "tokenize", read_tokenize_request, TOKENIZE, {"messages": [{"role": "user", "content": "a"}]}


def _least(schema: Schema) -> dict[str, Any]:
    known = {"messages": [{"role": "user", "content": "a"}], "prompt": "a", "input": "a", "max_tokens": 5}
    return {name: known[name] for name in schema["required"]}


BODIES = {name: rest for name, *rest in _bodies()}


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_field_is_read_where_its_schema_allows_the_value(name: str, data: st.DataObject) -> None:
    read, schema, least = BODIES[name]
    field = data.draw(st.sampled_from(sorted(properties_of(schema))))
    allowed = properties_of(schema)[field]
    value = data.draw(values_for(schema_text(allowed)))
    body = {**least, **TOGETHER.get(field, {}), field: value}
    if not is_valid(body, schema) or (field in OUTLINED and name not in IN_FULL) or field == "tool_choice":
        return  # the next test's, or more is asked for than the schema says
    try:
        read(body)
    except OptionError as error:
        if field != "messages" or "unknown" not in str(error):  # a role or key that is misspelt
            raise


@pytest.mark.parametrize("name", BODIES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_field_is_refused_where_its_schema_does_not_allow_the_value(name: str, data: st.DataObject) -> None:
    read, schema, least = BODIES[name]
    field = data.draw(st.sampled_from(sorted(properties_of(schema))))
    value = data.draw(ANY)
    body = {**least, **TOGETHER.get(field, {}), field: value}
    if is_valid(body, schema) or field in ("tools", "tool_choice"):  # of which more is known with the model
        return

    def use() -> None:
        found = read(body)
        if name in INTERFACES:
            GenerationConfig(**found.request.options)

    if field in ("suffix", "template", "context", "images") and not value:
        return  # nothing, of whatever kind
    with pytest.raises(OptionError):
        use()


@pytest.mark.parametrize("name", BODIES)
def test_all_fields_are_told_and_no_others(name: str) -> None:
    read, schema, least = BODIES[name]
    told = set(properties_of(schema))
    for field in told - least.keys():
        assert not is_unknown(read, {**least, field: object()}, field), field
    for word in words_of_the_readers() - told:
        assert is_unknown(read, {**least, word: object()}, word), word


def words_of_the_readers() -> set[str]:
    """Return every text in the program that could be a field: whatever a reader knows it by stands there."""
    modules = [fields, tokenization]
    modules += [inspect.getmodule(each) for each in (*vars(genai.wire.openai).values(),) if callable(each)]  # type: ignore[misc]
    trees = [ast.parse(inspect.getsource(module)) for module in set(modules) if module is not None]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"[a-z_]+", text)} | set(CODE_OPTIONS)


def is_unknown(read: Callable[[Any], Any], body: dict[str, Any], field: str) -> bool:
    """Whether a body is refused because nobody knows a field of it."""
    try:
        read(body)
    except OptionError as error:
        return any(text % field in str(error) for text in REFUSALS)
    return False


def properties_of(schema: Schema) -> dict[str, Schema]:
    """Return the fields of a body, or of each that it may be."""
    variants = schema.get("anyOf", [schema])
    return {name: each for variant in variants for name, each in variant["properties"].items()}


def is_valid(value: Any, schema: Schema) -> bool:
    return bool(validator_of(schema_text(schema)).is_valid(value))


def schema_text(schema: Schema) -> str:
    return json.dumps(schema)


@functools.cache
def validator_of(schema: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads(schema))


@functools.cache
def values_for(schema: str) -> st.SearchStrategy[Any]:
    return values_of(json.loads(schema)) | ANY


def _as_python(name: str, value: Any) -> Any:
    """Return a value as a body's reader hands it on: token ids are texts where JSON has them as keys."""
    if name != "logit_bias" or not isinstance(value, dict):
        return value
    return {int(key) if re.fullmatch("[0-9]{1,9}", key) else key: each for key, each in value.items()}


def test_every_interface_reads_the_least_that_its_schema_asks_for() -> None:
    for path, interface in INTERFACES.items():
        assert not read_body(path, _least(interface.schemas().body)).request.options.keys() - {
            "max_new_tokens"
        }
