"""Bodies of OpenAI's responses become arguments of `build_request`, or are refused by the field that is wrong."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.wire import RESPONSES, BodyError, CompletionRequest, read_body
from genai.wire.thinking import Thinking

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
FIND = {**LOOK, "name": "find"}
CALL = {
    "type": "function_call",
    "call_id": "c1",
    "name": "look",
    "arguments": "{}",
    "id": "fc_1",
    "status": "completed",
}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "a wall"}
TOLD_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOLD_RESULT = {"role": "tool", "content": "a wall", "tool_call_id": "c1", "name": "look"}
SAID = {
    "type": "message",
    "role": "assistant",
    "id": "msg_1",
    "status": "completed",
    "content": [
        {"type": "output_text", "text": "I ", "annotations": []},
        {"type": "output_text", "text": "look."},
    ],
}


def read(**body: Any) -> CompletionRequest:
    return read_body(RESPONSES, {"input": "Hello", **body}).request


def messages_of(items: Any, **body: Any) -> Any:
    (prompt,) = read(input=items, **body).prompts
    return prompt["messages"]


def test_a_text_and_instructions() -> None:
    request = read(
        model="phi",
        instructions="Be brief.",
        max_output_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        logit_bias={"7": -1},
        stream=True,
        stream_options={"include_obfuscation": False},
        user="somebody",
        metadata={"a": "b"},
        store=False,
        text={"format": {"type": "json_object"}, "verbosity": "medium"},
        truncation="auto",
        priority=2,
        chat_template_kwargs={"date": "today"},
        previous_response_id=None,
    )
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert request.model == "phi"
    assert request.stream
    assert request.prompts == [{"messages": messages, "priority": 2, "template_options": {"date": "today"}}]
    assert request.options == {
        "max_new_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "logit_bias": {7: -1},
        "response_format": {"type": "json_object"},
        "context_policy": "truncate_turns",
    }


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([{"role": "developer", "content": "a"}], [{"role": "developer", "content": "a"}]),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}],
            [{"role": "user", "content": "ab"}],
        ),
        (
            [{"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
             SAID, CALL, {**CALL, "call_id": "c2"}, RESULT, {**RESULT, "call_id": "c2"}],
            [
                {
                    "role": "assistant",
                    "reasoning_content": "hm",
                    "content": "I look.",
                    "tool_calls": [TOLD_CALL, {**TOLD_CALL, "id": "c2"}],
                },
                TOLD_RESULT,
                {**TOLD_RESULT, "tool_call_id": "c2"},
            ],
        ),
        (
            [CALL, {**RESULT, "output": [{"type": "input_text", "text": "a wall"}]}, SAID, SAID],
            [
                {"role": "assistant", "tool_calls": [TOLD_CALL]},
                TOLD_RESULT,
                {"role": "assistant", "content": "I look."},
                {"role": "assistant", "content": "I look."},
            ],
        ),
        (
            [{"type": "reasoning", "summary": [], "encrypted_content": base64.b64encode("hü".encode()).decode()}, SAID],
            [{"role": "assistant", "reasoning_content": "hü", "content": "I look."}],
        ),
        (
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]}, {"role": "user", "content": "?"}],
            [{"role": "assistant", "reasoning_content": "so"}, {"role": "user", "content": "?"}],
        ),
        ([{"type": "reasoning", "summary": []}, SAID], [{"role": "assistant", "content": "I look."}]),
    ],
)  # fmt: skip
def test_items_become_messages(items: Any, messages: Any) -> None:
    assert messages_of(items) == messages


def test_tools_and_which_of_them() -> None:
    tools = [LOOK, FIND]
    asked = {"tools": tools, "parallel_tool_calls": False}
    (prompt,) = read(**asked).prompts
    assert prompt["tools"] == tools
    assert prompt["parallel_tool_calls"] is False
    (prompt,) = read(**asked, tool_choice={"type": "function", "name": "find"}).prompts
    assert prompt["tool_choice"] == {"type": "function", "name": "find"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "find"}]}
    (prompt,) = read(**asked, tool_choice=allowed).prompts
    assert (prompt["tool_choice"], prompt["tools"]) == ("required", [FIND])


def test_reasoning() -> None:
    assert read(reasoning={"effort": "low", "summary": "auto"}).thinking == Thinking(
        "low", "reasoning.effort"
    )
    assert read(reasoning={"effort": "none"}).thinking == Thinking(False, "reasoning.effort")
    assert read(reasoning={}).thinking is None


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"logprobs": True}, {"logprobs": True, "top_logprobs": 0}),
        ({"top_logprobs": 0}, {}),
        ({"logprobs": False}, {}),
    ],
)
def test_log_probabilities(body: dict[str, Any], options: dict[str, Any]) -> None:
    assert read(**body).options == options


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "usr", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": "a", "name": "b"}]}, "input[0].name"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [RESULT]}, "input[0].call_id"),
        ({"input": [{**CALL, "arguments": {}}]}, "input[0].arguments"),
        ({"input": [{"type": "reasoning", "encrypted_content": "gAAAA-"}]}, "input[0].encrypted_content"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [LOOK], "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "allowed_tools", "tools": [FIND]}}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"include": ["web_search_call.results"]}, "include"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"form": {}}}, "form"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "concise"}}, "reasoning.summary"),
        ({"truncation": "some"}, "truncation"),
        ({"top_logprobs": 2, "logprobs": "yes"}, "logprobs"),
        ({"top_logprobs": 2, "logprobs": False}, "logprobs"),
        ({"truncation": "auto", "context_policy": "stop"}, "truncation"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options"),
        ({"metadata": "a"}, "metadata"),
        ({"n": 2}, "n"),
        ({"num_return_sequences": 2}, "num_return_sequences"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"response_format": "json"}, "response_format"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"temprature": 1}, "temprature"),
        ({"logits_processors": ["f"]}, "logits_processors"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BodyError) as caught:
        read(**body)
    assert caught.value.option == field
    assert field.partition("[")[0].rpartition(".")[2] in str(caught.value)


def test_what_goes_on_with_what_is_stored_is_refused_as_such() -> None:
    with pytest.raises(
        BodyError, match=r"previous_response_id is not taken here.* send the whole conversation"
    ):
        read(previous_response_id="resp_1")


def test_what_options_refuse_is_said_in_the_words_of_the_body() -> None:
    for body, option in (
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "jsn"}}}, "text.format"),
    ):
        request = read(**body)
        with pytest.raises(OptionError) as caught:
            GenerationConfig(**request.options)
        told = request.in_its_words(caught.value)
        assert told.option == option
        assert option in str(told)
