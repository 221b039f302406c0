"""A wish to think, or not to, becomes what a model's chat template has for it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from genai.text import ChatTemplate, Tokenizer
from genai.wire import BodyError
from genai.wire.thinking import Thinking

SWITCHED = "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}</think>"
WORDED = "{{ reasoning_effort }}<|channel|><|message|>"
ALWAYS = "{# </think> #}"
NEVER = "{{ messages }}"


class OneTemplate:
    """A tokenizer of which nothing but the chat template is asked."""

    def __init__(self, source: str) -> None:
        self._template = ChatTemplate(source)

    def template_for(self, *, has_tools: bool) -> ChatTemplate:
        return self._template


@pytest.mark.parametrize(
    ("source", "wanted", "limit", "expected"),
    [
        (SWITCHED, True, None, {"template_options": {"enable_thinking": True}}),
        (SWITCHED, False, None, {"template_options": {"enable_thinking": False}}),
        (SWITCHED, "low", 9, {"template_options": {"enable_thinking": True}, "max_reasoning_tokens": 9}),
        (WORDED, "high", None, {"template_options": {"reasoning_effort": "high"}}),
        (ALWAYS, True, None, {}),
        (ALWAYS, True, 64, {"max_reasoning_tokens": 64}),
        (ALWAYS, False, None, {"max_reasoning_tokens": 0}),
        (NEVER, False, None, {}),
    ],
)
def test_a_wish_is_carried_out_by_what_the_template_has(
    source: str, wanted: bool | str, limit: int | None, expected: dict[str, Any]
) -> None:
    tokenizer = cast(Tokenizer, OneTemplate(source))
    assert Thinking(wanted, "think", limit).arguments({"messages": []}, tokenizer) == expected


def test_what_is_said_of_the_template_itself_wins() -> None:
    prompt = {"messages": [], "template_options": {"enable_thinking": False, "date": "today"}}
    found = Thinking(True, "think").arguments(prompt, cast(Tokenizer, OneTemplate(SWITCHED)))
    assert found == {"template_options": {"enable_thinking": False, "date": "today"}}


def test_a_model_that_cannot_think_is_refused_where_that_is_needed() -> None:
    tokenizer = cast(Tokenizer, OneTemplate(NEVER))
    with pytest.raises(BodyError, match="think: this model's chat template marks no reasoning") as caught:
        Thinking(True, "think").arguments({"messages": []}, tokenizer)
    assert caught.value.option == "think"
    with pytest.raises(BodyError, match="knows no degrees of reasoning"):
        Thinking("low", "think").arguments({"messages": []}, cast(Tokenizer, OneTemplate(ALWAYS)))
    assert Thinking(True, "think", 1024, is_needed=False).arguments({"messages": []}, tokenizer) == {}
