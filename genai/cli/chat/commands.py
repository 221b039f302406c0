"""The commands of a conversation: /help, /set, /undo and the others, each a function over the `Repl`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genai.cli.chat.saved import load_conversation, restore, save_conversation
from genai.cli.chat.settings import OPTION_NAMES, format_value, parse_value
from genai.cli.output import format_stats
from genai.config import GenerationConfig
from genai.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from genai.cli.chat.repl import Repl

__all__ = ["COMMANDS", "ChatCommand", "Leave"]


class Leave(Exception):  # noqa: N818 - no error: the user wants to go
    """Raised by /bye."""


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A command of a conversation.

    Args:
        usage: How it is typed.
        help: What it does.
        function: Called with the loop and what follows the name.
    """

    usage: str
    help: str
    function: Callable[[Repl, str], None]


def _system(repl: Repl, text: str) -> None:
    session = repl.session
    if text == "-":
        session.system = None
        repl.screen.note("No system prompt any more.")
    elif text:
        session.system = text
        repl.screen.note("System prompt set.")
    else:
        repl.screen.text(session.system or "There is no system prompt; /system TEXT sets one.")


def _clear(repl: Repl, _argument: str) -> None:
    repl.session.clear()
    repl.screen.note("The conversation starts over.")


def _undo(repl: Repl, _argument: str) -> None:
    text = " ".join(repl.session.undo().split())
    repl.screen.note(f"Taken back: {text[:60]}{'...' if len(text) > 60 else ''}")


def _regen(repl: Repl, _argument: str) -> None:
    repl.regenerate()


def _save(repl: Repl, argument: str) -> None:
    path = _path("/save", argument)
    save_conversation(repl.session, path)
    repl.screen.note(f"Saved {_count(len(repl.session.messages))} to {path}.")


def _load(repl: Repl, argument: str) -> None:
    path = _path("/load", argument)
    saved = load_conversation(path)
    restore(saved, repl.session)
    repl.screen.note(f"Loaded {_count(len(saved.messages))} from {path}.")
    if saved.model != repl.session.model.name:
        repl.screen.note(f'It was held with "{saved.model}"; "{repl.session.model.name}" goes on with it.')


def _set(repl: Repl, argument: str) -> None:
    session = repl.session
    if not argument:
        _show_settings(repl)
        return
    name, text = re.split(r"\s*=\s*|\s+|$", argument, maxsplit=1)
    name = name.replace("-", "_")
    if name not in OPTION_NAMES:
        raise OptionError(f'unknown generation option "{name}".{did_you_mean(name, OPTION_NAMES)}')
    if not text:
        repl.screen.text(f"{name} = {format_value(getattr(session.config, name))}")
        return
    if text == "default":
        session.reset_option(name)
    else:
        session.set_option(name, parse_value(name, text))
    repl.screen.note(f"{name} = {format_value(getattr(session.config, name))}")


def _show(repl: Repl, _argument: str) -> None:
    session = repl.session
    facts = {
        **session.model.description,
        "context": f"{session.context_used} of {session.model.context_length} tokens used",
        "messages": str(len(session.messages)),
        "system": session.system or "none",
    }
    width = max(map(len, facts)) + 2
    repl.screen.text("\n".join(f"{name.ljust(width)}{value}" for name, value in facts.items()))
    _show_settings(repl)


def _show_settings(repl: Repl) -> None:
    """Show the options that do something: set by the user, or by the model's defaults."""
    config, settings, plain = repl.session.config, repl.session.settings, GenerationConfig()
    defaults = repl.session.model.defaults
    lines = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in settings:
            lines.append(f"{field.name} = {format_value(value)}")
        elif value != getattr(plain, field.name) or field.name in ("max_new_tokens", "do_sample"):
            origin = "default" if value == getattr(defaults, field.name) else "implied"
            lines.append(f"{field.name} = {format_value(value)}  ({origin})")
    repl.screen.text("\n".join(lines))


def _stats(repl: Repl, _argument: str) -> None:
    totals, last = repl.session.totals, repl.session.last
    if not totals.answers:
        repl.screen.text("There was no answer yet.")
        return
    if last is not None:
        repl.screen.text(f"last answer  {format_stats(last.stats)}")
    answers = "1 answer" if totals.answers == 1 else f"{totals.answers} answers"
    repl.screen.text(
        f"session      {answers}, {totals.generated_tokens} tokens, {totals.tokens_per_second:.1f} tokens/s, "
        f"prompts {totals.prompt_tokens} ({totals.cached_prompt_tokens} cached)"
    )


def _help(repl: Repl, _argument: str) -> None:
    shown = {command.usage: command.help for command in COMMANDS.values()}
    width = max(map(len, shown)) + 2
    lines = [f"{usage.ljust(width)}{help_}" for usage, help_ in shown.items()]
    lines += [
        "",
        '""" begins and ends a message of several lines; Alt-Enter begins a new line, too.',
        "Ctrl-C stops an answer, Ctrl-D leaves.",
    ]
    repl.screen.text("\n".join(lines))


def _bye(_repl: Repl, _argument: str) -> None:
    raise Leave


def _path(name: str, argument: str) -> Path:
    if not argument:
        raise OptionError(f"{name} needs a file name, such as {name} talk.json")
    return Path(argument).expanduser()


def _count(num_messages: int) -> str:
    return "1 message" if num_messages == 1 else f"{num_messages} messages"


_BYE = ChatCommand("/bye", "leave (also /exit, /quit)", _bye)

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
    "/help": ChatCommand("/help", "show this", _help),
    "/bye": _BYE,
    "/exit": _BYE,
    "/quit": _BYE,
}
