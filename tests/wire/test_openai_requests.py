"""OpenAI's bodies become arguments of `build_request`, or are refused by the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.wire import BodyError, CompletionRequest, read_body
from genai.wire.messages import TAKEN_ROLES
from genai.wire.thinking import Thinking

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "Hello"}]


def read_request(endpoint: str, body: Any) -> CompletionRequest:
    return read_body(endpoint, body).request


def test_a_conversation() -> None:
    request = read_request(
        CHAT,
        {
            "model": "phi",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}
            ],
            "max_completion_tokens": 5,
            "n": 2,
            "temperature": 0.5,
            "logprobs": True,
            "top_logprobs": 3,
            "logit_bias": {"7": -100},
            "stop": None,
            "user": "somebody",
            "min_p": 0.1,
            "chat_template_kwargs": {"enable_thinking": False},
        },
    )
    assert request.model == "phi"
    assert request.prompts == [{"messages": HELLO, "template_options": {"enable_thinking": False}}]
    assert request.options == {
        "max_new_tokens": 5,
        "num_return_sequences": 2,
        "temperature": 0.5,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {7: -100},
        "min_p": 0.1,
    }


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", [{"prompt": "a"}]),
        (["a", "b"], [{"prompt": "a"}, {"prompt": "b"}]),
        ([1, 2], [{"token_ids": [1, 2]}]),
        ([[1, 2], [3]], [{"token_ids": [1, 2]}, {"token_ids": [3]}]),
    ],
)
def test_texts_and_tokens(prompt: Any, prompts: list[Any]) -> None:
    request = read_request(TEXT, {"prompt": prompt, "logprobs": 0})
    assert request.prompts == prompts
    assert request.options == {"logprobs": True, "top_logprobs": 0}


def test_roles_that_some_template_knows_are_taken() -> None:
    for role in TAKEN_ROLES:
        read_request(CHAT, {"messages": [{"role": role, "content": "a"}], "verbosity": "medium"})


def test_an_answer_that_was_begun() -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Good "}]
    body = {"messages": messages, "add_generation_prompt": False}
    assert read_request(CHAT, body).prompts == [
        {"messages": messages, "template_options": {"add_generation_prompt": False}}
    ]
    continued = read_request(CHAT, {**body, "continue_final_message": True})
    assert continued.prompts == [{"messages": messages, "continue_final_message": True}]
    for extra in ({"continue_final_message": False}, {"add_generation_prompt": True}):
        assert read_request(CHAT, {"messages": HELLO, **extra}).prompts == [{"messages": HELLO}]


@pytest.mark.parametrize("endpoint", [CHAT, TEXT])
def test_fields_that_change_nothing_are_taken(endpoint: str) -> None:
    prompt: dict[str, Any] = {"messages": HELLO} if endpoint == CHAT else {"prompt": "Hello"}
    usual = {"store": False, "parallel_tool_calls": True, "service_tier": "auto", "modalities": ["text"]}
    assert read_request(endpoint, {**prompt, **usual}).options == {}


def test_a_prompt_that_is_scored() -> None:
    body = {"prompt": "Hello", "echo": True, "logprobs": 2}
    options = {"echo": True, "logprobs": True, "top_logprobs": 2, "prompt_logprobs": 2}
    assert read_request(TEXT, body).options == options
    assert read_request(TEXT, {**body, "prompt_logprobs": 0}).options == {**options, "prompt_logprobs": 0}
    assert "prompt_logprobs" not in read_request(TEXT, {"prompt": "Hello", "echo": True}).options


@pytest.mark.parametrize(
    ("endpoint", "body", "field"),
    [
        (CHAT, [], "body"),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": [{"content": "no role"}]}, "messages"),
        (CHAT, {"messages": [{"role": "usr", "content": "Hello"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        (CHAT, {"messages": HELLO, "max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        (CHAT, {"messages": HELLO, "top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"messages": HELLO, "stream": "yes"}, "stream"),
        (CHAT, {"messages": HELLO, "logit_bias": {"x": 1}}, "logit_bias"),
        (CHAT, {"messages": HELLO, "temprature": 1}, "temprature"),
        (CHAT, {"messages": HELLO, "parallel_tool_calls": 1}, "parallel_tool_calls"),
        (TEXT, {"prompt": "a", "parallel_tool_calls": False}, "parallel_tool_calls"),
        (CHAT, {"messages": HELLO, "priority": "high"}, "priority"),
        (CHAT, {"messages": HELLO, "tools": {}}, "tools"),
        (CHAT, {"messages": HELLO, "tool_choice": {"type": "custom"}}, "tool_choice"),
        (CHAT, {"messages": HELLO, "reasoning_effort": "much"}, "reasoning_effort"),
        (CHAT, {"messages": HELLO, "reasoning": {"effort": "low", "enabled": False}}, "reasoning"),
        (CHAT, {"messages": HELLO, "reasoning": {"efort": "low"}}, "efort"),
        (CHAT, {"messages": HELLO, "reasoning": {}, "reasoning_effort": "low"}, "reasoning"),
        (TEXT, {"prompt": "a", "reasoning_effort": "low"}, "reasoning_effort"),
        (TEXT, {"prompt": "a", "max_tokens": 0, "stream": True}, "max_tokens"),
        (CHAT, {"messages": HELLO, "store": 0}, "store"),
        (CHAT, {"messages": HELLO, "logits_processors": ["f"]}, "logits_processors"),
        (CHAT, {"messages": HELLO, "continue_final_message": 1}, "continue_final_message"),
        (
            CHAT,
            {"messages": HELLO, "continue_final_message": True, "add_generation_prompt": True},
            "add_generation_prompt",
        ),
        (TEXT, {"prompt": "a", "add_generation_prompt": True}, "add_generation_prompt"),
        (TEXT, {}, "prompt"),
        (TEXT, {"prompt": [True]}, "prompt"),
        (TEXT, {"prompt": "a", "logprobs": True}, "logprobs"),
        (TEXT, {"prompt": "a", "suffix": "b"}, "suffix"),
    ],
)
def test_what_is_wrong_is_named(endpoint: str, body: Any, field: str) -> None:
    with pytest.raises(BodyError) as caught:
        read_request(endpoint, body)
    assert caught.value.option == field
    assert field in str(caught.value)


def test_what_options_refuse_is_said_in_the_words_of_the_body() -> None:
    request = read_request(CHAT, {"messages": HELLO, "max_tokens": 2, "min_tokens": 3})
    with pytest.raises(OptionError) as caught:
        GenerationConfig(**request.options)
    told = request.in_its_words(caught.value)
    assert (str(told), told.option) == ("min_tokens (3) must not exceed max_tokens (2)", "min_tokens")
    request = read_request(TEXT, {"prompt": "a", "logprobs": 50})
    with pytest.raises(OptionError) as caught:
        GenerationConfig(**request.options)
    assert request.in_its_words(caught.value).option == "logprobs"


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"reasoning_effort": "low"}, Thinking("low", "reasoning_effort")),
        ({"reasoning_effort": "none"}, Thinking(False, "reasoning_effort")),
        ({"reasoning": {"effort": "high", "max_tokens": 9}}, Thinking("high", "reasoning", 9)),
        ({"reasoning": {"enabled": True}}, Thinking(True, "reasoning")),
        ({"reasoning": {"enabled": False}}, Thinking(False, "reasoning")),
        ({"reasoning": {"max_tokens": 9}}, Thinking(True, "reasoning", 9)),
        ({"reasoning": {"exclude": True}}, None),
        ({"include_reasoning": False}, None),
        ({}, None),
    ],
)
def test_how_much_a_model_is_to_think(fields: dict[str, Any], thinking: Thinking | None) -> None:
    assert read_request(CHAT, {"messages": HELLO, **fields}).thinking == thinking


def test_what_goes_with_tools() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("look", "find")]
    body = {"messages": HELLO, "tools": tools, "parallel_tool_calls": False, "priority": -1}
    (prompt,) = read_request(CHAT, body).prompts
    assert prompt == {"messages": HELLO, "tools": tools, "parallel_tool_calls": False, "priority": -1}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "find"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    (prompt,) = read_request(CHAT, {**body, "tool_choice": choice}).prompts
    assert (prompt["tools"], prompt["tool_choice"]) == (tools[1:], "required")
    assert read_request(TEXT, {"prompt": ["a", "b"], "priority": 3}).prompts == [
        {"prompt": "a", "priority": 3},
        {"prompt": "b", "priority": 3},
    ]
