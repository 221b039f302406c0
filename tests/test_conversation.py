"""What callers pass as a conversation: what of it the model is told, and what is refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from genai import Generator, Message, OptionError
from tests.scripted import CHATML, ScriptedModel, make_scripted

Make = Callable[..., tuple[Generator, ScriptedModel]]
ASK = Message("user", "How warm is it in Paris?")
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
PLAIN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content + '' }}{% endfor %}<|assistant|>"
CONCATENATING = (
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name + '<｜tool▁call▁begin｜>' + c.function.arguments }}{% endfor %}{% endfor %}{{ tools or '' }}"
)


def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"21 degrees in {city}"


def called(arguments: Any) -> list[Any]:
    """A conversation in which the function was called with these arguments."""
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "21", "tool_call_id": "1"},
    ]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(answers: Sequence[str] = (), **options: Any) -> tuple[Generator, ScriptedModel]:
        return make_scripted(tmp_path, monkeypatch, answers, **options)

    return make


def prompt_of(generator: Generator, messages: Sequence[Any], **options: Any) -> str:
    request = generator.build_request(messages=messages, **options)
    return generator.tokenizer.decode(request.prompt_token_ids, skip_special_tokens=False)


# --- messages ---


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Hello", "must be a Message or a mapping"),
        ({"content": "Hello"}, 'needs a "role"'),
        ({"role": 5, "content": "Hello"}, 'needs a "role"'),
        ({"role": "usr", "content": "Hello"}, 'unknown role "usr". Did you mean "user"'),
        (Message("assitant", "Hello"), 'unknown role "assitant". Did you mean "assistant"'),
        ({"role": "User", "content": "Hello"}, 'unknown role "User". Did you mean "user"'),
        ({"role": "user", "contnt": "Hello"}, 'unknown key "contnt". Did you mean "content"'),
        ({"role": "assistant", "tool_call": []}, 'unknown key "tool_call". Did you mean "tool_calls"'),
        ({"role": "user"}, "content must be a text, or parts of the type text, not None"),
        (Message("user", None), "content must be a text"),
        ({"role": "user", "content": 5}, "content must be a text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "content must be a text"),
        ({"role": "assistant", "tool_calls": 5}, "tool_calls must be a list of calls"),
        (Message("assistant", None, tool_calls=["f"]), "tool_calls must be a list of calls"),  # type: ignore[list-item]
    ],
)
def test_what_is_wrong_with_a_message_is_named(make: Make, message: Any, error: str) -> None:
    generator, _ = make()
    for options in ({}, {"context_policy": "truncate_turns"}):
        with pytest.raises(OptionError) as caught:
            generator.chat([ASK, message], **options)
        assert str(caught.value).startswith("messages[1]")
        assert error in str(caught.value)
    with pytest.raises(OptionError, match=r"messages\[1\]"):
        generator.count_tokens(messages=[ASK, message])


def test_parts_of_text_are_one_text(make: Make) -> None:
    generator, _ = make()
    parts: Any = [{"type": "text", "text": "How warm is it "}, {"type": "text", "text": "in Paris?"}]
    for message in (Message("user", parts), {"role": "user", "content": parts}):
        assert prompt_of(generator, [message]) == prompt_of(generator, [ASK])


@pytest.mark.parametrize("role", ["narrator", "ipython", "query", "document", "model", "tool_response"])
def test_roles_and_keys_that_only_templates_know_are_theirs(make: Make, role: str) -> None:
    generator, _ = make(template="{% for m in messages %}{{ m.role }}: {{ m.mood }}{% endfor %}")
    assert prompt_of(generator, [{"role": role, "content": "", "mood": "calm"}]) == f"{role}: calm"


# --- calls ---


@pytest.mark.parametrize("tools", [None, [get_weather]], ids=["without", "with"])
def test_calls_without_content_are_told_whether_or_not_tools_come_again(make: Make, tools: Any) -> None:
    generator, _ = make(template=PLAIN)
    assert prompt_of(generator, called('{"city": "Paris"}'), tools=tools).endswith(
        '<|assistant|>{"name": "get_weather", "arguments": {"city": "Paris"}}'
        "<|user|>The function returned: 21<|assistant|>"
    )
    generator, _ = make(template=CHATML)
    assert CALL in prompt_of(generator, called('{"city": "Paris"}'), tools=tools)


@pytest.mark.parametrize("tools", [None, [get_weather]], ids=["without", "with"])
@pytest.mark.parametrize(
    ("arguments", "in_words", "as_text"),
    [("", "{}", ""), ('{"city":', r'"{\"city\":"', '{"city":'), ("[1]", "[1]", "[1]")],
)
def test_damaged_arguments_are_told_as_they_are(
    make: Make, tools: Any, arguments: str, in_words: str, as_text: str
) -> None:
    generator, _ = make(template=PLAIN)
    told = f'{{"name": "get_weather", "arguments": {in_words}}}<|user|>'
    assert told in prompt_of(generator, called(arguments), tools=tools)
    generator, _ = make(template=CONCATENATING)
    assert f"<｜tool▁call▁begin｜>{as_text}tool:" in prompt_of(generator, called(arguments), tools=tools)


def test_damaged_arguments_are_refused_where_a_template_wants_objects(make: Make) -> None:
    generator, _ = make(template=CHATML)
    assert '"arguments": {}' in prompt_of(generator, called(""))
    for arguments in ('{"city":', "[1]", "5"):
        with pytest.raises(
            OptionError, match=r"messages\[1\].tool_calls\[0\].function.arguments must be"
        ) as caught:
            generator.chat(called(arguments), tools=[get_weather])
        assert caught.value.option == "messages"


def test_a_choice_holds_for_the_first_answer_of_several(make: Make) -> None:
    generator, model = make([CALL, "Warm."], special_tokens=["<tool_call>", "</tool_call>"])
    options: Any = {"tools": [get_weather], "tool_choice": "get_weather", "auto_call": True}
    result = generator.chat([ASK], **options)
    stream = generator.stream_chat([ASK], **options)
    list(stream)
    for each in (result, stream.result):
        assert each is not None
        assert [message.role for message in each.messages] == ["assistant", "tool", "assistant"]
        assert each.text == "Warm."
    assert len(model.prompts) == 2  # the stream is asked the same
