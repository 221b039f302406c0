"""Whatever stands in a body, what comes is a request or a GenaiError: strangers write bodies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from genai import Generator
from genai.config import GenerationConfig, options_of
from genai.errors import GenaiError
from genai.wire import INTERFACES, read_body

HALF_A_CHARACTER = "\ud800"
CALL = {"type": "function", "function": {"name": "f"}}
SCALARS = (
    None,
    True,
    0,
    -1,
    2**64,
    10**400,
    1.5,
    float("nan"),
    -float("inf"),
    1e308,
    "",
    "a",
    HALF_A_CHARACTER,
)
LISTS = ([], [1], ["a"], [None], [[1]], [[[1, 2], 0.5]], [10**20], [{}], [{"role": 5}], [{"role": "user"}])
MESSAGES = (
    [{"role": "user", "content": 5}],
    [{"role": "assistant", "content": "a", "tool_calls": [{}]}],
    [{"role": "assistant", "tool_calls": {"a": 1}}],
    [{"role": "tool", "content": {"a": 1}}],
    [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [5]}]}],
    [{"role": "user", "content": [{"type": []}]}],
    [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1]}}]}],
    [{"role": "assistant", "content": ""}],
    [{"role": "system", "content": []}],
    [{"role": "user", "content": "a", "extra": {"x": [1]}}],
    [{"role": "user", "content": [{"type": "text", "text": HALF_A_CHARACTER}]}],
)
ITEMS = (
    [{"type": []}],
    [{"role": [], "content": "a"}],
    [{"role": "user", "content": [{"type": []}]}],
    [{"role": "user", "content": [{"type": "input_text", "text": HALF_A_CHARACTER}]}],
    [{"type": "function_call", "call_id": [], "name": "f", "arguments": "{}"}],
    [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{"}],
    [{"type": "reasoning", "encrypted_content": {}, "summary": 5}],
    [{"type": "reasoning", "encrypted_content": "ü"}],
)
TOOLS = tuple(
    [{"type": "function", "function": function}]
    for function in (
        None,
        {"name": 5},
        {"name": "f", "parameters": True},
        {"name": "f", "parameters": {"type": "object", "properties": 5}},
        {"name": "f", "parameters": {"type": "object", "properties": {"x": {"$ref": "#/a"}}}},
    )
)
OBJECTS = (
    {},
    {"a": 1},
    {"5": None},
    {"5": 10**400},
    {"type": []},
    {"type": "regex"},
    {"type": "json_schema", "json_schema": {"schema": {"type": 5}}},
    {"type": "object", "properties": 5},
    {"messages": 1},
    {"type": "enabled", "budget_tokens": 10**400},
    {"type": "tool", "name": []},
    {"format": {"type": "json_schema", "schema": 5}},
    {"format": {"type": []}, "verbosity": {}},
    {"effort": [], "summary": {}, "max_tokens": 10**400},
    {"type": "allowed_tools", "mode": "auto", "tools": [[], {"name": []}]},
    CALL,
)
ODD = (*SCALARS, *LISTS, *MESSAGES, *ITEMS, *TOOLS, *OBJECTS)
FIELDS = (
    *options_of(GenerationConfig),
    *("messages", "tools", "tool_choice", "chat_template_kwargs", "continue_final_message"),
    *("prompt", "stream", "model", "n", "max_tokens", "parallel_tool_calls"),
    *("input", "instructions", "max_output_tokens", "text", "reasoning", "include", "truncation", "metadata"),
    *("priority", "reasoning_effort", "include_reasoning", "stream_options", "store"),
    *("options", "format", "keep_alive", "think", "raw", "suffix", "context"),
    *("system", "thinking", "output_config", "stop_sequences", "cache_control", "service_tier"),
)
ASK = {"messages": [{"role": "user", "content": "Hi"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**ASK, "tools": [CALL]},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi", "tools": [{"type": "function", "name": "f"}]},
    "/v1/messages": {**ASK, "tools": [{"name": "f", "input_schema": {}}], "max_tokens": 5},
    "/api/chat": {**ASK, "tools": [CALL]},
    "/api/generate": {"prompt": "Hi"},
}
"""What is right, by the path."""


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


@pytest.mark.parametrize("endpoint", INTERFACES)
@pytest.mark.parametrize("field", FIELDS)
def test_an_odd_value_is_refused_or_taken(generator: Generator, endpoint: str, field: str) -> None:
    for value in ODD:
        with contextlib.suppress(GenaiError):
            request = read_body(endpoint, {**BODIES[endpoint], field: value}).request
            for each in request.prompts:
                generator.build_request(
                    **request.arguments(each, lambda: generator.tokenizer), stream=request.stream
                )
