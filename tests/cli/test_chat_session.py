"""The conversation itself: what stays in it, what an answer that fails or is stopped leaves behind."""

from __future__ import annotations

import pytest

from genai.cli.chat.session import Session
from genai.config import GenerationConfig
from genai.errors import OptionError
from tests.cli.fake_chat import Conversation, FakeModel

HELLO = [("user", "Hello"), ("assistant", "Good day ! ")]


def test_a_conversation_grows() -> None:
    talk = Conversation(system="Be kind.")
    talk.say("Hello", "And?")
    assert talk.said == [*HELLO, ("user", "And?"), ("assistant", "Good day ! ")]
    assert talk.model.asked[1] == [("system", "Be kind."), *HELLO, ("user", "And?")]
    assert talk.screen.answers[:2] == ["Good day ! "] * 2
    assert all(answer.is_closed for answer in talk.model.answers)


def test_a_stopped_answer_stays_as_far_as_it_came() -> None:
    session = Session(FakeModel())
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        if len(shown) == 2:
            session.cancel()

    result = session.ask("Hello", show)
    assert result.finish_reason == "cancelled"
    assert [message.content for message in session.messages] == ["Hello", "Good day "]


def test_an_answer_stopped_before_its_first_word_leaves_nothing() -> None:
    model = FakeModel()
    session = Session(model)
    original = model.answer

    def answer(*arguments: object) -> object:
        session.cancel()  # Ctrl-C while the prompt is being encoded
        return original(*arguments)  # type: ignore[arg-type]

    model.answer = answer  # type: ignore[method-assign, assignment]
    assert session.ask("Hello", lambda _text: None).finish_reason == "cancelled"
    assert session.messages == []
    model.answer = original  # type: ignore[method-assign]
    assert session.ask("Hello", lambda _text: None).finish_reason == "stop"


def test_a_failed_answer_leaves_the_conversation() -> None:
    talk = Conversation(context_length=8)
    talk.say("Hello")
    with pytest.raises(OptionError, match="context holds 8"):
        talk.session.ask("one two three four five six", lambda _text: None)
    assert talk.said == HELLO


def test_regenerate_takes_a_fresh_seed_and_keeps_the_settings() -> None:
    talk = Conversation(defaults=GenerationConfig(do_sample=True))
    talk.say("/set seed 7", "Hello")
    talk.model.reply = "Another one"
    talk.say("/regen")
    assert talk.said == [("user", "Hello"), ("assistant", "Another one ")]
    assert talk.model.asked[1] == [("user", "Hello")]
    assert talk.model.options[0]["seed"] == 7
    assert talk.model.options[1]["seed"] != 7
    assert talk.session.settings == {"seed": 7}


def test_regenerate_that_brings_nothing_keeps_the_old_answer() -> None:
    talk = Conversation()
    talk.say("Hello")
    talk.model.reply, talk.model.reason = "", "length"
    talk.say("/regen")
    assert talk.said == HELLO


def test_several_sequences_are_refused() -> None:
    with pytest.raises(OptionError, match="num_return_sequences"):
        Session(FakeModel(), settings={"num_return_sequences": 2, "temperature": 1.0})


def test_an_echo_is_refused() -> None:
    with pytest.raises(OptionError, match="echo must be off in a conversation"):
        Session(FakeModel(), settings={"echo": True})


def test_totals() -> None:
    talk = Conversation()
    talk.say("Hello", "Hello")
    totals = talk.session.totals
    assert (totals.answers, totals.generated_tokens, totals.cached_prompt_tokens) == (2, 6, 4)
    assert totals.tokens_per_second == pytest.approx((6 - 2) / 2.0)
