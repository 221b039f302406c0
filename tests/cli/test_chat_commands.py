"""The commands of a conversation, over a fake model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genai.cli.chat.commands import COMMANDS
from genai.cli.chat.repl import is_open_block, strip_block
from genai.config import GenerationConfig, ResponseFormat
from tests.cli.fake_chat import Conversation

HELLO = [("user", "Hello"), ("assistant", "Good day ! ")]


@pytest.fixture
def talk() -> Conversation:
    conversation = Conversation()
    conversation.say("Hello")
    return conversation


def test_system(talk: Conversation) -> None:
    talk.say("/system", "/system Be brief.", "/system", "Hello", "/system -", "Hello")
    assert talk.screen.texts == ["There is no system prompt; /system TEXT sets one.", "Be brief."]
    assert talk.model.asked[1][0] == ("system", "Be brief.")
    assert talk.model.asked[2][0] == ("user", "Hello")


def test_clear_keeps_system_and_settings(talk: Conversation) -> None:
    talk.say("/system Be brief.", "/set top_k 3", "/clear")
    assert talk.said == []
    assert talk.session.system == "Be brief."
    assert talk.session.settings == {"top_k": 3}


def test_undo(talk: Conversation) -> None:
    talk.say("And?", "/undo")
    assert talk.said == HELLO
    assert talk.screen.notes == ["Taken back: And?"]
    talk.say("/undo", "/undo")
    assert talk.said == []
    assert talk.screen.errors == ["there is nothing to undo"]


def test_regen_says_that_greedy_is_the_same(talk: Conversation) -> None:
    talk.say("/regen")
    assert talk.said == HELLO
    assert "Greedy decoding gives the same answer again" in talk.screen.notes[-1]
    assert len(talk.model.asked) == 1
    talk.say("/set max_new_tokens 5", "/regen")  # which may be another answer
    assert len(talk.model.asked) == 2
    talk.say("/system Be brief.", "/regen")
    assert len(talk.model.asked) == 3
    talk.say("/set temperature 1", "/regen", "/regen")
    assert len(talk.model.asked) == 5
    talk.say("/clear", "/regen")
    assert talk.screen.errors == ["there is no answer yet to do again"]


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("/set temperature 0.5", "temperature", 0.5),
        ("/set temperature=0.5", "temperature", 0.5),
        ("/set max-new-tokens 20", "max_new_tokens", 20),
        ("/set max_new_tokens none", "max_new_tokens", None),
        ("/set do_sample on", "do_sample", True),
        ("/set stop the end", "stop", ("the end",)),
        (r'/set stop ["a", "\n"]', "stop", ("a", "\n")),
        ("/set stop 5", "stop", ("5",)),
        ("/set stop a=b", "stop", ("a=b",)),
        ("/set temperature = 0.5", "temperature", 0.5),
        ("/set stop_token_ids [1, 2]", "stop_token_ids", (1, 2)),
        ('/set logit_bias {"4": -2.5}', "logit_bias", {4: -2.5}),
        ("/set speculative off", "speculative", "off"),
        ("/set adapter on", "adapter", "on"),
        ("/set adapter none", "adapter", None),
        ("/set seed none", "seed", None),
        ("/set response_format json", "response_format", ResponseFormat.json_object()),
        ('/set response_format ["yes", "no"]', "response_format", ResponseFormat.choices(["yes", "no"])),
    ],
)
def test_set(talk: Conversation, line: str, name: str, value: object) -> None:
    talk.say(line)
    assert talk.screen.errors == []
    assert getattr(talk.session.config, name) == value
    talk.say("Hello")
    assert name in talk.model.options[-1]
    talk.say(f"/set {name} default")
    assert getattr(talk.session.config, name) == getattr(GenerationConfig(), name)


def test_the_default_of_an_option_that_is_not_set(talk: Conversation) -> None:
    talk.say("/set temperature default")
    assert (talk.screen.errors, talk.screen.notes) == ([], ["temperature = 1.0"])


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("/set temprature 1", 'Did you mean "temperature"?'),
        ("/set temprature", 'Did you mean "temperature"?'),
        ("/set temprature default", 'Did you mean "temperature"?'),
        ("/set temperature hot", "temperature must be a number >= 0, not 'hot'"),
        ("/set top_p 1.5", "top_p must be a number > 0 and <= 1"),
        ("/set num_return_sequences 2", "num_return_sequences"),
    ],
)
def test_a_wrong_set_changes_nothing(talk: Conversation, line: str, error: str) -> None:
    talk.say(line)
    assert error in talk.screen.errors[0]
    assert talk.session.settings == {}


def test_set_shows(talk: Conversation) -> None:
    talk.say("/set top_k 7", "/set top_k", "/set")
    assert talk.screen.texts[0] == "top_k = 7"
    assert talk.screen.texts[1].splitlines() == [
        "max_new_tokens = 1024  (default)",
        "do_sample = true  (implied)",
        "top_k = 7",
    ]


def test_a_form_is_shown(talk: Conversation) -> None:
    talk.say("/set response_format json", "/show", "/set response_format")
    assert talk.screen.errors == []
    assert 'response_format = {"type": "json_schema", ' in talk.screen.texts[-1]


def test_show(talk: Conversation) -> None:
    talk.say("/show")
    facts = talk.screen.texts[0]
    for fact in ("fake (fp32)", "cpu", "4 of 100 tokens used"):
        assert fact in facts


def test_stats() -> None:
    talk = Conversation(shows_stats=True)
    talk.say("/stats", "Hello", "Hello", "/stats")
    assert talk.screen.notes[0] == "[3 tokens, 2.0 tokens/s, prompt 1 (2 cached), first token after 0.50 s]"
    assert talk.screen.texts[0] == "There was no answer yet."
    assert talk.screen.texts[2] == "session      2 answers, 6 tokens, 2.0 tokens/s, prompts 6 (4 cached)"


def test_help_names_every_command(talk: Conversation) -> None:
    talk.say("/help", "/?")
    assert talk.screen.texts[0] == talk.screen.texts[1]
    for name in COMMANDS:
        assert name in talk.screen.texts[0]


@pytest.mark.parametrize("line", ["/bye", "/exit", "/quit", "/bye ", "exit", "quit "])
def test_bye(talk: Conversation, line: str) -> None:
    assert talk.repl.handle(line) is False


def test_a_message_may_be_a_word_that_leaves(talk: Conversation) -> None:
    talk.say(" exit", "exit the loop how?")
    assert [text for role, text in talk.said[2:] if role == "user"] == ["exit", "exit the loop how?"]


def test_an_unknown_command(talk: Conversation) -> None:
    talk.say("/sytem x", "/zzzzzz")
    assert 'unknown command "/sytem". Did you mean "/system"?' in talk.screen.errors[0]
    assert "/help lists them" in talk.screen.errors[1]
    assert talk.said == HELLO


def test_a_message_may_begin_with_a_slash(talk: Conversation) -> None:
    talk.say(" /etc is what?")
    assert talk.said[2] == ("user", "/etc is what?")


@pytest.mark.parametrize("line", ["", "   ", '""""""'])
def test_nothing_said_is_nothing_asked(talk: Conversation, line: str) -> None:
    talk.say(line)
    assert talk.said == HELLO


def test_a_block_is_one_message(talk: Conversation) -> None:
    talk.say('"""\nfirst\n  /second\n"""')
    assert talk.said[2] == ("user", "first\n  /second")


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ('"""', True),
        ('"""a\nb', True),
        ('"""a\nb\n"""', False),
        ('""""', True),
        ('a """', False),
        ("", False),
    ],
)
def test_blocks_open_and_close(text: str, is_open: bool) -> None:
    assert is_open_block(text) is is_open
    if not is_open:
        assert not strip_block(text).startswith('"""')


def test_a_conversation_beyond_the_context_goes_on(talk: Conversation) -> None:
    talk.model.context_length = 8
    talk.say("one two three four five six")
    assert "/undo takes back the last exchange, /clear starts over" in talk.screen.errors[0]
    assert talk.said == HELLO
    talk.say("/clear", "1 2 3 4 5 6 7 8 9")
    assert "shorten it" in talk.screen.errors[1]
    talk.say("Hello")
    assert talk.said == HELLO


def test_why_an_answer_was_cut(talk: Conversation) -> None:
    talk.model.reason = "length"
    talk.say("Hello")
    assert talk.screen.notes == ["Stopped at max_new_tokens=1024; /set max_new_tokens raises it."]
    talk.model.context_length = 11
    talk.say("Go on")
    assert "The context is full (11 tokens)" in talk.screen.notes[-1]


def test_save_and_load(talk: Conversation, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talk.say("/system Be brief.", "/set stop END", '/set logit_bias {"3": 1}', f"/save {path}")
    assert talk.screen.errors == []
    values = json.loads(path.read_text(encoding="utf-8"))
    assert values["model"] == "fake"
    assert values["messages"][0] == {"role": "system", "content": "Be brief."}
    other = Conversation()
    other.say("Something else", f"/load {path}")
    assert other.screen.errors == []
    assert other.said == talk.said
    assert other.session.system == "Be brief."
    assert other.session.settings == talk.session.settings
    assert other.session.config == talk.session.config
    talk.say("/undo", f"/save {path}")
    assert len(json.loads(path.read_text(encoding="utf-8"))["messages"]) == 1
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["talk.json"]


def test_save_spares_other_files(talk: Conversation, tmp_path: Path) -> None:
    path = tmp_path / "thesis.tex"
    path.write_text("years of work")
    talk.say(f"/save {path}", "/save", f"/save {tmp_path / 'no' / 'folder'}")
    assert path.read_text() == "years of work"
    assert "no saved conversation" in talk.screen.errors[0]
    assert "needs a file name" in talk.screen.errors[1]
    assert "cannot write" in talk.screen.errors[2]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "not JSON"),
        ("[]", "no saved conversation"),
        ('{"format": "genai conversation", "messages": [{"role": 1}], "settings": {}}', "messages"),
        ('{"format": "genai conversation", "messages": [], "settings": {"top_kk": 1}}', "top_kk"),
        ('{"format": "genai conversation", "messages": [], "settings": {"top_k": -1}}', "top_k"),
        (
            '{"format": "genai conversation", "messages": [{"role": "user", "content": "a", "x": 1}], "settings": {}}',
            '"x"',
        ),
        (None, "cannot read"),
    ],
)
def test_a_bad_file_changes_nothing(
    talk: Conversation, tmp_path: Path, content: str | None, error: str
) -> None:
    path = tmp_path / "talk.json"
    if content is not None:
        path.write_text(content)
    talk.say(f"/load {path}")
    assert error in talk.screen.errors[0]
    assert talk.said == HELLO


def test_load_says_that_the_model_is_another(talk: Conversation, tmp_path: Path) -> None:
    talk.model.name = "phi"
    talk.say(f"/save {tmp_path / 'a.json'}")
    talk.model.name = "fake"
    talk.say(f"/load {tmp_path / 'a.json'}")
    assert talk.screen.notes[-1] == 'It was held with "phi"; "fake" goes on with it.'
