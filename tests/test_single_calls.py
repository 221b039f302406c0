"""Answers that may call one function at most, whether a grammar holds the model to that or the answer ends there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from genai import GenerationResult, Generator, Message, OptionError
from tests.scripted import CHATML, ScriptedModel, make_scripted
from tests.test_chat_tools import CALL, PLAIN, get_weather, of, put_together

ASK = [Message("user", "How warm is it?")]
ROME = CALL.replace("Paris", "Rome")
Make = Callable[..., tuple[Generator, ScriptedModel]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(answers: Sequence[str], **options: Any) -> tuple[Generator, ScriptedModel]:
        return make_scripted(tmp_path, monkeypatch, answers, **options)

    return make


@pytest.mark.parametrize("template", [CHATML, PLAIN], ids=["held", "read"])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_an_answer_calls_once(make: Make, template: str, choice: str) -> None:
    said = CALL + ROME if template == CHATML else f"[{CALL[11:-12]}, {ROME[11:-12]}]"
    asked: dict[str, Any] = {"tools": [get_weather], "tool_choice": choice, "max_new_tokens": 200}
    several, _ = make([said] * 2, template=template)
    if choice == "auto":
        assert len(several.chat(ASK, **asked).tool_calls) == 2
    generator, _ = make([said] * 2, template=template)
    result = generator.chat(ASK, **asked, parallel_tool_calls=False)
    assert [call.name for call in result.tool_calls] == ["get_weather"]
    assert (result.text, result.finish_reason) == ("", "stop")
    stream = generator.stream_chat(ASK, **asked, parallel_tool_calls=False)
    assert put_together(list(stream)) == of(result)
    assert isinstance(stream.result, GenerationResult)
    assert stream.result.token_ids == result.token_ids


def test_an_answer_that_is_only_read_ends_behind_its_call(make: Make) -> None:
    call = CALL[11:-12]
    generator, _ = make([f"[{call}, {call}]"], template=PLAIN)
    result = generator.chat(ASK, tools=[get_weather], parallel_tool_calls=False)
    said = generator.tokenizer.decode(result.token_ids)
    assert said == f"[{call}"
    with pytest.raises(OptionError, match="parallel_tool_calls must be True or False"):
        generator.chat(ASK, tools=[get_weather], parallel_tool_calls=1)  # type: ignore[arg-type]
