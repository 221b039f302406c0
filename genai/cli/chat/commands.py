"""The commands of a conversation: /help, /set, /undo and the others, each a function over the `Presenter`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genai.cli.chat.presenter import Presenter
from genai.cli.chat.saved import load_conversation, restore, save_conversation
from genai.cli.option_values import format_value, option_name, parse_value
from genai.cli.output import format_stats
from genai.config import GenerationConfig
from genai.errors import OptionError

__all__ = ["COMMANDS", "ChatCommand", "Leave"]


class Leave(Exception):  # noqa: N818 - no error: the user wants to go
    """Raised by /bye."""


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A command of a conversation.

    Args:
        usage: How it is typed.
        help: What it does.
        function: Called with the conversation's presenter and what follows the name.
    """

    usage: str
    help: str
    function: Callable[[Presenter, str], None]


def _system(presenter: Presenter, text: str) -> None:
    session = presenter.session
    if text == "-":
        session.system = None
        presenter.screen.note("No system prompt any more.")
    elif text:
        session.system = text
        presenter.screen.note("System prompt set.")
    else:
        presenter.screen.text(session.system or "There is no system prompt; /system TEXT sets one.")


def _clear(presenter: Presenter, _argument: str) -> None:
    presenter.session.clear()
    presenter.screen.note("The conversation starts over.")


def _undo(presenter: Presenter, _argument: str) -> None:
    text = " ".join(presenter.session.undo().split())
    presenter.screen.note(f"Taken back: {text[:60]}{'...' if len(text) > 60 else ''}")


def _regen(presenter: Presenter, _argument: str) -> None:
    presenter.regenerate()


def _save(presenter: Presenter, argument: str) -> None:
    path = _path("/save", argument)
    save_conversation(presenter.session, path)
    presenter.screen.note(f"Saved {_count(len(presenter.session.messages))} to {path}.")


def _load(presenter: Presenter, argument: str) -> None:
    path = _path("/load", argument)
    saved = load_conversation(path)
    restore(saved, presenter.session)
    presenter.screen.note(f"Loaded {_count(len(saved.messages))} from {path}.")
    if saved.model != presenter.session.model.name:
        presenter.screen.note(
            f'It was held with "{saved.model}"; "{presenter.session.model.name}" goes on with it.'
        )


def _set(presenter: Presenter, argument: str) -> None:
    session = presenter.session
    if not argument:
        _show_settings(presenter)
        return
    name, text = re.split(r"\s*=\s*|\s+|$", argument, maxsplit=1)
    name = option_name(name)
    if not text:
        presenter.screen.text(f"{name} = {format_value(getattr(session.config, name))}")
        return
    if text == "default":
        session.reset_option(name)
    else:
        session.set_option(name, parse_value(name, text))
    presenter.screen.note(f"{name} = {format_value(getattr(session.config, name))}")


def _show(presenter: Presenter, _argument: str) -> None:
    session = presenter.session
    facts = {
        **session.model.description,
        "context": f"{session.context_used} of {session.model.context_length} tokens used",
        "messages": str(len(session.messages)),
        "system": session.system or "none",
    }
    width = max(map(len, facts)) + 2
    presenter.screen.text("\n".join(f"{name.ljust(width)}{value}" for name, value in facts.items()))
    _show_settings(presenter)


def _show_settings(presenter: Presenter) -> None:
    """Show the options that do something: set by the user, or by the model's defaults."""
    config, settings, plain = presenter.session.config, presenter.session.settings, GenerationConfig()
    defaults = presenter.session.model.defaults
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in settings:
            lines.append(f"{field.name} = {format_value(value)}")
        elif value != getattr(plain, field.name) or field.name in ("max_new_tokens", "do_sample"):
            origin = "default" if value == getattr(defaults, field.name) else "implied"
            lines.append(f"{field.name} = {format_value(value)}  ({origin})")
    presenter.screen.text("\n".join(lines))


def _stats(presenter: Presenter, _argument: str) -> None:
    totals, last = presenter.session.totals, presenter.session.last
    if not totals.answers:
        presenter.screen.text("There was no answer yet.")
        return
    if last is not None:
        presenter.screen.text(f"last answer  {format_stats(last.stats)}")
    answers = "1 answer" if totals.answers == 1 else f"{totals.answers} answers"
    presenter.screen.text(
        f"session      {answers}, {totals.generated_tokens} tokens, {totals.tokens_per_second:.1f} tokens/s, "
        f"prompts {totals.prompt_tokens} ({totals.cached_prompt_tokens} cached)"
    )


def _help(presenter: Presenter, _argument: str) -> None:
    shown = {command.usage: command.help for command in COMMANDS.values()}
    width = max(map(len, shown)) + 2
    lines = [f"{usage.ljust(width)}{help_}" for usage, help_ in shown.items()]
    lines += [
        "",
        '""" begins and ends a message of several lines; Alt-Enter begins a new line, too.',
        "Ctrl-C stops an answer, Ctrl-D leaves.",
    ]
    presenter.screen.text("\n".join(lines))


def _bye(_presenter: Presenter, _argument: str) -> None:
    raise Leave


def _path(name: str, argument: str) -> Path:
    if not argument:
        raise OptionError(f"{name} needs a file name, such as {name} talk.json")
    return Path(argument).expanduser()


def _count(num_messages: int) -> str:
    return "1 message" if num_messages == 1 else f"{num_messages} messages"


_BYE = ChatCommand("/bye", "leave (also /exit, /quit, exit, quit)", _bye)
_HELP = ChatCommand("/help", "show this (also /?)", _help)

COMMANDS = {
    "/system": ChatCommand("/system [TEXT]", "set or show the system prompt; - removes it", _system),
    "/clear": ChatCommand("/clear", "start the conversation over", _clear),
    "/undo": ChatCommand("/undo", "take back the last exchange", _undo),
    "/regen": ChatCommand("/regen", "answer the last message again", _regen),
    "/save": ChatCommand("/save FILE", "save messages and settings", _save),
    "/load": ChatCommand("/load FILE", "go on with a saved conversation", _load),
    "/set": ChatCommand(
        "/set [NAME [VALUE]]", 'set a generation option ("default" resets it), or show', _set
    ),
    "/show": ChatCommand("/show", "show model, provider, context use and settings", _show),
    "/stats": ChatCommand("/stats", "show tokens and speed of the last answer and of the session", _stats),
    "/help": _HELP,
    "/?": _HELP,
    "/bye": _BYE,
    "/exit": _BYE,
    "/quit": _BYE,
}
