"""What random logits make of schemas: complete texts are valid by another library's word, others could become so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from genai.errors import OptionError
from tests.structured.forms import EOS, compile_form, schemas, text_of, walk

FORMATS = jsonschema.FormatChecker(["uuid", "ipv4"])
"""Formats that a pattern can say wholly; Python's dates know leap years, and no year 0."""


def check(schema: dict[str, Any], seed: int) -> None:
    try:
        grammar = compile_form(schema)
    except OptionError as error:
        if "nsatisfiable" not in str(error) and "empty" not in str(error):
            raise
        reject()
    token_ids = walk(grammar, seed)
    text = text_of(token_ids)
    if token_ids[-1] == EOS:
        value = json.loads(text)
        jsonschema.Draft202012Validator(schema, format_checker=FORMATS).validate(value)
        assert grammar.parse(text) == value
    assert grammar.accepts(text.rstrip("�"), is_complete=token_ids[-1] == EOS)
    assert walk(grammar, seed, forces=False) == token_ids


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(schemas(), st.integers(0, 2**32))
def test_random_schemas(schema: dict[str, Any], seed: int) -> None:
    check(schema, seed)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(schemas(), st.integers(0, 2**32))
def test_many_random_schemas(schema: dict[str, Any], seed: int) -> None:
    check(schema, seed)


@pytest.mark.slow
def test_published_schemas() -> None:
    """The 197 smallest of SchemaStore's (Apache-2.0, github.com/SchemaStore/schemastore) that can be enforced.

    They are without their descriptions, examples and defaults.
    """
    published = json.loads((Path(__file__).parent / "published_schemas.json").read_text(encoding="utf-8"))
    num_complete = 0
    for name, schema in published.items():
        grammar = compile_form(schema)
        for seed in range(2):
            token_ids = walk(grammar, seed, hurries=True, max_tokens=300)
            text, is_complete = text_of(token_ids), token_ids[-1] == EOS
            if is_complete:
                num_complete += 1
                jsonschema.validators.validator_for(schema)(schema).validate(json.loads(text))
            assert grammar.accepts(text.rstrip("\ufffd"), is_complete=is_complete), name
            assert walk(grammar, seed, hurries=True, max_tokens=300, forces=False) == token_ids, name
    assert num_complete > len(published)
