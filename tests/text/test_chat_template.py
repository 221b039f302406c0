"""Every style of chat template in use, held against transformers' apply_chat_template."""

import contextlib
import dataclasses
import enum
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from transformers import PreTrainedTokenizerFast

from genai.config import Message
from genai.errors import ChatTemplateError
from genai.text import ChatTemplate

TEMPLATES = {path.stem: path.read_text("utf-8") for path in (Path(__file__).parent / "templates").iterdir()}
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Get the "weather"\nnow',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "A city, e.g. <Köln>"},
                    "days": {"type": "integer", "default": 3},
                    "unit": {"type": "string", "enum": ["c", "f"]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "extra": {"type": ["string", "null"]},
                    "scale": {"type": "number", "default": 1.5},
                },
                "required": ["city"],
            },
            "return": {"type": "string"},
        },
    },
    {
        "type": "function",
        "function": {"name": "now", "description": "d", "parameters": {"type": "object", "properties": {}}},
    },
]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def calls(arguments: Any) -> list[dict[str, Any]]:
    function = {"name": "get_weather", "arguments": arguments}
    return [{"id": "abcdefghi", "type": "function", "function": function}]


ARGUMENTS = {"city": "Köln", "days": 2, "ok": True, "nothing": None, "list": [1.0, "it's"]}
RESULT = {"role": "tool", "content": "12 °C", "name": "get_weather", "tool_call_id": "abcdefghi"}
CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}

CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "one question": ([user("Hi")], {}),
    "system": ([system(" Be brief. /no_think\n"), user("Hi  "), assistant(" Hello! "), user("ok?")], {}),
    "unicode": ([user("Größe, 日本語 👩‍👩‍👧 \u2028 <b>&amp;</b>"), assistant("‘ja’"), user("\t\n")], {}),
    "last is the assistant": ([user("a"), assistant("b"), user("c"), assistant("d")], {}),
    "no generation prompt": ([user("a"), assistant("b")], {"add_generation_prompt": False}),
    "template syntax in a message": ([user("{{ x }} {% if %} {# #} <|im_end|> [INST]")], {}),
    "tools": ([system("s"), user("Weather?")], {"tools": TOOLS}),
    "no tools": ([user("x")], {"tools": []}),
    "a tool call": (
        [user("?"), assistant(None, tool_calls=calls(ARGUMENTS)), RESULT, assistant("12"), user("ok")],
        {"tools": TOOLS},
    ),
    "a tool call as text": (
        [user("?"), assistant("", tool_calls=calls('{"city": "Köln"}')), RESULT, RESULT],
        {"tools": TOOLS},
    ),
    "several tool calls": ([user("?"), assistant("", tool_calls=calls({}) * 2), RESULT, RESULT], {}),
    "a tool's result without a call": ([user("?"), RESULT], {}),
    "reasoning in the text": ([user("a"), assistant("<think>\nhm\n</think>\n\nb"), user("c")], {}),
    "reasoning apart": ([user("a"), assistant("b", reasoning_content="hm\n")], {}),
    "reasoning by another name": (
        [user("a"), assistant("b", thinking="hm", tool_calls=calls({})), RESULT],
        {},
    ),
    "reasoning before a call": (
        [user("a"), assistant(None, reasoning_content="hm", tool_calls=calls(ARGUMENTS)), RESULT],
        {},
    ),
    "thinking off": ([user("a")], {"enable_thinking": False}),
    "thinking on": ([user("a")], {"enable_thinking": True, "reasoning_effort": "high"}),
    "parts": (
        [user([{"type": "text", "text": " Hi "}, {"type": "image"}, {"type": "text", "text": "there"}])],
        {},
    ),
    "system in parts": ([system([{"type": "text", "text": "S"}]), user("x")], {}),
    "documents": ([user("q")], {"documents": [{"title": "T", "text": "x"}, {"title": "Ü", "text": "y"}]}),
    "not alternating": ([user("a"), user("b")], {}),
    "the assistant begins": ([assistant("a"), user("b")], {}),
    "unknown role": ([{"role": "narrator", "content": "x"}], {}),
    "a date": ([user("x")], {"date_string": "1 Jan 2025"}),
    "no content": ([{"role": "user"}], {}),
    "continued": ([user("a"), assistant("The answer ")], CONTINUED),
    "continued reasoning": ([user("a"), assistant("<think>\nhm\n</think>\n\nThe ans")], CONTINUED),
    "continued parts": ([user("a"), assistant([{"type": "text", "text": "The"}])], CONTINUED),
}


@functools.cache
def template_of(name: str) -> ChatTemplate:
    return ChatTemplate(TEMPLATES[name], name=name, special_tokens=SPECIAL_TOKENS)


@pytest.fixture(scope="module")
def reference() -> PreTrainedTokenizerFast:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL_TOKENS)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_renders_as_transformers_does(name, conversation, reference):
    messages, options = CONVERSATIONS[conversation]
    options = {"add_generation_prompt": True, **options}
    template = template_of(name)
    try:
        expected = reference.apply_chat_template(
            messages, chat_template=TEMPLATES[name], tokenize=False, **options
        )
    except Exception:  # noqa: BLE001  # whatever the template or Jinja raises
        with pytest.raises(ChatTemplateError):
            template.render(messages, **options)
    else:
        assert template.render(messages, **options) == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_templates_are_put_to_use(name):
    """Guards the test above against templates that refuse everything."""
    rendered = 0
    for messages, options in CONVERSATIONS.values():
        with contextlib.suppress(ChatTemplateError):
            rendered += bool(template_of(name).render(messages, **options))
    assert rendered >= 6


def test_messages_and_mappings_are_the_same():
    template = template_of("chatml")
    assert template.render([Message("user", "Hi")]) == template.render([user("Hi")])


def test_one_template_renders_many_conversations_alike():
    template = template_of("harmony")
    first = template.render([user("a")])
    template.render([system("s"), user("b")], tools=TOOLS)
    assert template.render([user("a")]) == first


def test_a_refusal_carries_the_templates_words():
    template = template_of("turns")
    with pytest.raises(ChatTemplateError, match=r'"turns", line 1 refuses .*: System role not supported$'):
        template.render([system("x"), user("y")])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\nb\n{% if %}", "line 3 cannot be compiled: Expected an expression"),
        ("{% for m in messages %}\n{{ m.content }}", "cannot be compiled: Unexpected end of template"),
        ("{{ x | no_such_filter }}", "line 1 cannot be compiled: No filter named 'no_such_filter'"),
        ("\n\n{{ 1 + 'a' }}", "line 3 failed: unsupported operand"),
        ("\n{{ nothing.at.all }}", "line 2 failed: 'nothing' is undefined"),
        ("{% include 'other' %}", "line 1 failed: no loader"),
        ("x" * 300_000, "has 300,000 characters"),
    ],
)
def test_errors_name_the_template_and_the_line(source, message):
    with pytest.raises(ChatTemplateError, match=message):
        ChatTemplate(source).render([user("x")])


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        ([], {}, "empty"),
        (["Hi"], {}, "a message must be a Message or a mapping"),
        ([user("x")], {"tools": [print]}, "each of tools must be the JSON schema"),
        ([user("x")], {"documents": ["x"]}, "each of documents must be"),
        ([user("x")], {"continue_final_message": True}, "exclude each other"),
        ([{"role": "user"}], CONTINUED, "no text to continue"),
    ],
)
def test_wrong_arguments_are_told(messages, options, message):
    with pytest.raises(ChatTemplateError, match=message):
        template_of("chatml").render(messages, **options)


def test_a_message_that_the_template_does_not_show_cannot_be_continued():
    for source in ("{{ messages[0].role }}", "{{ messages[0].content | replace('a', 'b') | upper }}"):
        with pytest.raises(ChatTemplateError, match="continue_final_message: chat template"):
            ChatTemplate(source).render([assistant("a")], **CONTINUED)


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


def test_templates_see_plain_data_only():
    template = ChatTemplate("{{ value.items() | list if value is mapping else value }}")

    def show(value: Any) -> str:
        return template.render([user("x")], value=value)

    assert show(np.float32(0.5)) == "0.5"
    assert show(np.bool_(False)) == "False"
    assert show(Colour.RED) == "red"
    assert show(Point(1)) == "[('x', 1)]"
    assert show(Path("/secret")) == f"<{type(Path()).__name__}>"
    assert show((1, [Path()])) == f"(1, ['<{type(Path()).__name__}>'])"
