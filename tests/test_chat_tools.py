"""Tools and reasoning in conversations, from messages to results, over a model that says what the test wants."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from genai import GenerationResult, Generator, Message, OptionError, Piece, ToolCall, tool
from genai.text import Tokenizer
from genai.tools import AnswerDelta, AnswerParts
from tests.scripted import CHATML, THINKING, ScriptedModel, make_scripted

Make = Callable[..., tuple[Generator, ScriptedModel]]
ASK = [Message("user", "How warm is it in Paris?")]
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'


def get_weather(city: str, days: int = 1) -> dict[str, Any]:
    """Tell the weather."""
    if city == "Atlantis":
        raise LookupError("no such city")
    return {"city": city, "days": days, "degrees": 21}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(answers: Sequence[str], **options: Any) -> tuple[Generator, ScriptedModel]:
        return make_scripted(tmp_path, monkeypatch, answers, **options)

    return make


def put_together(pieces: Sequence[Piece]) -> tuple[Any, ...]:
    parts = AnswerParts()
    parts.add([AnswerDelta(piece.text, piece.reasoning, piece.tool_calls) for piece in pieces])
    answer = parts.answer
    return answer.text, answer.reasoning, [(call.name, call.arguments) for call in answer.tool_calls]


def of(result: GenerationResult) -> tuple[Any, ...]:
    return result.text, result.reasoning, [(call.name, call.arguments) for call in result.tool_calls]


def test_calls_are_apart_from_the_text(make: Make) -> None:
    answer = f"I look.\n{CALL}\n{CALL.replace('Paris', 'Rome')}"
    generator, model = make([answer])
    result = generator.chat(ASK, tools=[get_weather])
    assert of(result) == (
        "I look.",
        "",
        [("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})],
    )
    assert result.finish_reason == "stop"
    assert result.tool_calls[0].id.startswith("call_")
    assert result.tool_calls[0].arguments_json == '{"city": "Paris"}'
    assert "Tell the weather." in model.prompts[0]
    pieces = list(generator.stream_chat(ASK, tools=[get_weather]))
    assert put_together(pieces) == of(result)
    assert pieces[0].text == "I"
    assert sum((piece.token_ids for piece in pieces), ()) == result.token_ids


def test_markers_that_are_special_tokens_are_seen(make: Make) -> None:
    generator, _ = make([CALL], special_tokens=["<tool_call>", "</tool_call>"])
    result = generator.chat(ASK, tools=[get_weather])
    assert of(result) == ("", "", [("get_weather", {"city": "Paris"})])
    assert put_together(list(generator.stream_chat(ASK, tools=[get_weather]))) == of(result)
    beams = generator.chat(ASK, tools=[get_weather], num_beams=2)
    assert of(beams) == of(result)
    for options in ({"num_beams": 2}, {"best_of": 2, "temperature": 0.1}):
        (piece,) = generator.stream_chat(ASK, tools=[get_weather], **options)
        assert put_together([piece]) == of(result)


def test_reasoning_that_the_prompt_begins_is_apart_from_the_text(make: Make) -> None:
    generator, _ = make([f"\nIn Paris?\n</think>\n\n{CALL}"], template=THINKING)
    result = generator.chat(ASK, tools=[get_weather])
    assert of(result) == ("", "In Paris?", [("get_weather", {"city": "Paris"})])
    assert put_together(list(generator.stream_chat(ASK, tools=[get_weather]))) == of(result)
    told = result.message
    assert (told.role, told.content, told.reasoning_content) == ("assistant", "", "In Paris?")
    assert told.tool_calls == result.tool_calls


def test_reasoning_needs_no_tools(make: Make) -> None:
    generator, _ = make(["\nEasy.</think>It is mild."], template=THINKING)
    assert of(generator.chat(ASK)) == ("It is mild.", "Easy.", [])
    stopped = generator.chat(ASK, max_new_tokens=2)
    assert stopped.text == ""
    assert stopped.reasoning


@pytest.mark.parametrize("limit", [0, 1, 5])
@pytest.mark.parametrize(
    "template", [THINKING, THINKING.replace("<think>\n", "")], ids=["begun", "not begun"]
)
def test_reasoning_ends_at_its_limit(make: Make, template: str, limit: int) -> None:
    """The scripted model goes on with what it would have said in that place, had it ended by itself."""
    thought = "one two three four five six seven eight nine ten"
    said = thought if template == THINKING else f"<think>{thought}"
    generator, _ = make([f"{said} Done."], template=template, special_tokens=["<think>", "</think>"])
    result = generator.chat(ASK, max_reasoning_tokens=limit)
    tokenizer = generator.tokenizer
    end = tokenizer.token_to_id("</think>")
    num_before = limit + (template != THINKING)
    assert end not in result.token_ids[:num_before]
    assert result.token_ids[num_before] == end
    assert end not in result.token_ids[num_before + 1 :]
    assert thought.startswith(result.reasoning)
    assert result.text.endswith("Done.")
    assert of(generator.chat(ASK, max_reasoning_tokens=limit, num_beams=2))[1] == result.reasoning
    assert generator.chat(ASK, max_reasoning_tokens=1000).reasoning == f"{thought} Done."


def test_reasoning_ends_at_its_limit_behind_white_space(make: Make) -> None:
    template = THINKING.replace("<think>\n", "")
    generator, _ = make(
        ["\n\n<think>one two three four Done."], template=template, special_tokens=["<think>", "</think>"]
    )
    result = generator.chat(ASK, max_reasoning_tokens=3)
    end, begin = map(generator.tokenizer.token_to_id, ("</think>", "<think>"))
    assert result.token_ids.index(end) == result.token_ids.index(begin) + 4
    assert result.reasoning


def test_a_stop_text_that_is_a_special_token_ends_the_answer(make: Make) -> None:
    generator, _ = make(["It is<stop> mild.", "It is<stop> mild."], special_tokens=["<stop>"])
    for num_beams in (1, 2):
        result = generator.chat(ASK, stop=["<stop>", "never"], num_beams=num_beams)
        assert (result.text, result.finish_reason, result.stop_text) == ("It is", "stop", "<stop>")


def test_answers_without_reasoning_have_no_limit(make: Make) -> None:
    template = THINKING.replace("<think>\n", "")
    generator, _ = make(["It is mild."], template=template, special_tokens=["<think>", "</think>"])
    assert of(generator.chat(ASK, max_reasoning_tokens=0)) == ("It is mild.", "", [])


def test_a_limit_that_cannot_be_kept_is_refused(make: Make) -> None:
    generator, _ = make([], template=THINKING)
    with pytest.raises(OptionError, match='the end of reasoning, "</think>", to be one token'):
        generator.chat(ASK, max_reasoning_tokens=5)
    with pytest.raises(OptionError, match="max_reasoning_tokens needs a conversation"):
        generator.generate("Hello", max_reasoning_tokens=5)


@pytest.mark.parametrize("tools", [None, []], ids=str)
def test_calls_of_nothing_known_stay_text(make: Make, tools: Any) -> None:
    generator, _ = make([CALL])
    assert of(generator.chat(ASK, tools=tools)) == (CALL, "", [])


@pytest.mark.parametrize("max_new_tokens", [14, 38, 40])
def test_a_call_that_is_cut_off_is_none(make: Make, max_new_tokens: int) -> None:
    generator, _ = make([CALL])
    result = generator.chat(ASK, tools=[get_weather], max_new_tokens=max_new_tokens)
    assert result.finish_reason == "length"
    assert result.tool_calls == ()
    cut = result.cut_call
    if max_new_tokens == 14:
        assert cut is None
        assert CALL.startswith(result.text)
    else:
        assert cut is not None
        assert cut.name == "get_weather"
        assert cut.arguments_json.strip() in CALL
        assert result.text == ""
    assert result.message.tool_calls is None
    pieces = list(generator.stream_chat(ASK, tools=[get_weather], max_new_tokens=max_new_tokens))
    assert put_together(pieces) == of(result)
    told = [call for piece in pieces for call in piece.tool_calls]
    assert [call.is_cut for call in told][-1:] == ([] if cut is None else [True])
    assert not any(call.is_withdrawn for call in told)


def test_no_tool_is_shown_where_none_may_be_called(make: Make) -> None:
    generator, model = make([CALL])
    assert generator.chat(ASK, tools=[get_weather], tool_choice="none").text == CALL
    assert "Tell the weather." not in model.prompts[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tool_choice": "required"}, "tool_choice 'required' needs tools"),
        (
            {"tools": [get_weather], "tool_choice": "get_wether"},
            'tool_choice must be one of none, auto, required, get_weather, .*Did you mean "get_weather"',
        ),
        ({"tools": [get_weather], "tool_choice": {"function": {}}}, "tool_choice must be one of"),
        ({"tools": [print]}, "print: a model passes arguments by name"),
        ({"auto_call": True}, "auto_call needs tools"),
        ({"auto_call": 1}, "auto_call must be True or False"),
        ({"auto_call": True, "tools": [{"name": "a"}]}, 'the tool "a" is only a schema'),
        ({"auto_call": True, "tools": [get_weather], "max_rounds": 0}, "max_rounds must be an integer >= 1"),
        ({"tools": [get_weather], "max_rounds": 3}, "max_rounds is for auto_call=True"),
        (
            {"auto_call": True, "tools": [get_weather], "continue_final_message": True},
            "auto_call cannot be combined with continue_final_message",
        ),
        (
            {"auto_call": True, "tools": [get_weather], "num_return_sequences": 2, "num_beams": 2},
            "auto_call goes on from one answer",
        ),
        (
            {"tools": [get_weather], "tool_choice": "required", "response_format": "json"},
            "tool_choice cannot be combined with response_format",
        ),
    ],
)
def test_what_cannot_be_is_refused(make: Make, options: dict[str, Any], message: str) -> None:
    generator, _ = make([])
    with pytest.raises(OptionError, match=message):
        generator.chat(ASK, **options)


# --- functions that are called ---


def test_functions_are_called_and_the_model_goes_on(make: Make) -> None:
    generator, model = make([CALL, "It has 21 degrees."])
    result = generator.chat(ASK, tools=[get_weather], auto_call=True)
    assert of(result) == ("It has 21 degrees.", "", [])
    asked, told, answered = result.messages
    assert asked.tool_calls is not None
    (call,) = asked.tool_calls
    assert isinstance(call, ToolCall)
    assert told == Message(
        "tool", '{"city": "Paris", "days": 1, "degrees": 21}', name="get_weather", tool_call_id=call.id
    )
    assert answered == Message("assistant", "It has 21 degrees.")
    assert '"degrees": 21' in model.prompts[1]
    assert (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>' in model.prompts[1]
    )


def test_asynchronous_rounds_are_the_same(make: Make) -> None:
    generator, _ = make([CALL, "Warm."])
    with generator:
        result = asyncio.run(generator.achat(ASK, tools=[get_weather], auto_call=True))
    assert result.text == "Warm."
    assert [message.role for message in result.messages] == ["assistant", "tool", "assistant"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (CALL.replace("Paris", "Atlantis"), "error: LookupError: no such city"),
        (CALL.replace('"Paris"', "5"), "error: OptionError: get_weather: city must be str, not 5"),
        (
            CALL.replace("city", "town"),
            'error: OptionError: get_weather has no parameter "town": it has city, days',
        ),
    ],
)
def test_what_goes_wrong_in_a_function_is_told(make: Make, call: str, told: str) -> None:
    generator, _ = make([call[11:-12], "Sorry."], template=PLAIN)  # whose calls no marker begins
    result = generator.chat(ASK, tools=[get_weather], auto_call=True)
    assert result.messages[1].content == told
    assert result.text == "Sorry."


def test_rounds_end(make: Make) -> None:
    answers = [CALL.replace("Paris", f"City {number}") for number in range(4)]
    generator, model = make(answers)
    result = generator.chat(ASK, tools=[get_weather], auto_call=True, max_rounds=2)
    assert len(model.prompts) == 3
    assert [call.arguments for call in result.tool_calls] == [{"city": "City 2"}]
    assert [message.role for message in result.messages] == ["assistant", "tool"] * 2 + ["assistant"]


def test_what_functions_return_becomes_text(make: Make) -> None:
    @dataclasses.dataclass
    class Place:
        city: str

    def text() -> str:
        """Text."""
        return "as it is"

    def place() -> list[Place]:
        """Place."""
        return [Place("Köln")]

    def nothing() -> None:
        """Nothing."""

    calls = "".join(
        f'<tool_call>{{"name": "{name}", "arguments": {{}}}}</tool_call>'
        for name in ("text", "place", "nothing")
    )
    generator, _ = make([calls, "Done."])
    result = generator.chat(ASK, tools=[text, tool(place), nothing], auto_call=True)
    assert [message.content for message in result.messages if message.role == "tool"] == [
        "as it is",
        '[{"city": "Köln"}]',
        "null",
    ]


# --- prompts ---


def prompt_of(generator: Generator, messages: Sequence[Any], **options: Any) -> str:
    ids = generator._loaded.builder.prompt(messages=messages, **options).token_ids
    return generator.tokenizer.decode(ids, skip_special_tokens=False)


PLAIN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.tools %}<|tool|>{{ m.tools }}<|/tool|>{% endif %}"
    "<|end|>{% endfor %}<|assistant|>"
)
CONCATENATING = (
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name + '<｜tool▁call▁begin｜>' + c.function.arguments }}{% endfor %}{% endfor %}{{ tools or '' }}"
)


def test_a_template_without_tools_has_them_told_in_words(make: Make) -> None:
    generator, model = make(
        ['{"name": "get_weather", "arguments": {"city": "Paris"}}', "Warm."], template=PLAIN
    )
    result = generator.chat([Message("system", "Be brief."), *ASK], tools=[get_weather], auto_call=True)
    assert result.text == "Warm."
    assert model.prompts[0].startswith("<|system|>Be brief.\n\nYou may call functions.")
    assert '"name": "get_weather"' in model.prompts[0]
    assert model.prompts[1].endswith(
        '<|assistant|>{"name": "get_weather", "arguments": {"city": "Paris"}}'
        '<|user|>get_weather returned: {"city": "Paris", "days": 1, "degrees": 21}<|assistant|>'
    )


def test_a_template_without_a_system_message_has_them_told_by_the_user(make: Make) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
    generator, _ = make([], template=refusing)
    prompt = prompt_of(generator, ASK, tools=[get_weather])
    assert prompt.startswith("<|user|>You may call functions.")
    assert prompt.endswith("How warm is it in Paris?<|assistant|>")


def test_a_template_that_reads_tools_from_the_system_message_has_them_there(make: Make) -> None:
    generator, _ = make([f"<|tool_call|>[{CALL[11:-12]}]<|/tool_call|>"], template=PHI)
    assert '<|system|><|tool|>[{"name": "get_weather"' in prompt_of(generator, ASK, tools=[get_weather])
    result = generator.chat(ASK, tools=[get_weather])
    assert of(result) == ("", "", [("get_weather", {"city": "Paris"})])


@pytest.mark.parametrize("arguments", [{"city": "Köln"}, '{"city": "Köln"}'], ids=["object", "text"])
def test_arguments_are_what_the_template_wants(make: Make, arguments: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    talk = [*ASK, {"role": "assistant", "content": "", "tool_calls": [call]}]
    for template, expected in (
        (CHATML, '<tool_call>{"name": "get_weather", "arguments": {"city": "Köln"}}</tool_call>'),
        (CONCATENATING, 'get_weather<｜tool▁call▁begin｜>{"city": "Köln"}'),
    ):
        generator, _ = make([], template=template)
        assert expected in prompt_of(generator, talk)


def test_a_result_can_be_said_again(make: Make) -> None:
    generator, _ = make([CALL])
    result = generator.chat(ASK, tools=[get_weather])
    told = Message("tool", "21", name="get_weather", tool_call_id=result.tool_calls[0].id)
    assert f"{CALL}<|im_end|>" in prompt_of(generator, [*ASK, result.message, told], tools=[get_weather])


def test_a_choice_becomes_a_grammar(make: Make) -> None:
    def now() -> str:
        """Tell the time."""
        return ""

    generator, _ = make([], template=THINKING, special_tokens=["<tool_call>"])
    tokenizer: Tokenizer = generator.tokenizer
    prompt_of = generator._loaded.builder.prompt

    def grammar(tools: list[Any], choice: str) -> str:
        prompt = prompt_of(messages=ASK, tools=tools, tool_choice=choice)
        assert prompt.must_call
        return prompt.grammar_of_calls(tokenizer.added_tokens, frozenset())

    both, one = grammar([get_weather, now], "required"), grammar([get_weather, now], "now")
    assert "get_weather" in both
    assert "get_weather" not in one
    assert f"<[{tokenizer.added_tokens['<tool_call>']}]>" in one
    assert not prompt_of(messages=ASK, tools=[now]).must_call


def test_the_demo_model_takes_tools() -> None:
    """It was trained on none, and answers in words."""
    with Generator("demo", provider="cpu") as generator:
        asked = [Message("user", "What is a KV cache?")]
        result = generator.chat(asked, tools=[get_weather], max_new_tokens=12)
        assert result.tool_calls == ()
        assert (
            "".join(p.text for p in generator.stream_chat(asked, tools=[get_weather], max_new_tokens=12))
            == result.text
        )
        assert (
            generator.chat(asked, max_new_tokens=12).text
            == generator.chat(asked, tools=None, max_new_tokens=12).text
        )


@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_a_choice_is_enforced(choice: str) -> None:
    """The demo model, which would never call by itself, writes what the grammar leaves it."""
    pytest.importorskip("genai.structured", reason="grammars are not enforced yet")
    with Generator("demo", provider="cpu") as generator:
        options: Any = {"tools": [get_weather], "tool_choice": choice, "max_new_tokens": 200}
        result = generator.chat(ASK, **options)
        assert put_together(list(generator.stream_chat(ASK, **options))) == of(result)
        if result.finish_reason == "stop":
            assert result.text == ""
            assert {call.name for call in result.tool_calls} == {"get_weather"}
            assert all(isinstance(call.arguments["city"], str) for call in result.tool_calls)
