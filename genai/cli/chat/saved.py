"""A conversation in a file: model name, messages and settings as JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genai.cli.chat.session import Session
from genai.config import Message
from genai.errors import OptionError

__all__ = ["SavedConversation", "load_conversation", "restore", "save_conversation"]

FORMAT = "genai conversation"


@dataclass(frozen=True, slots=True)
class SavedConversation:
    """What a file holds.

    Args:
        model: The name of the model that answered.
        system: The system prompt, if there was one.
        messages: What was said, without the system prompt.
        settings: Generation options that differed from the model's defaults.
    """

    model: str
    system: str | None
    messages: tuple[Message, ...]
    settings: Mapping[str, Any]


def save_conversation(session: Session, path: Path) -> None:
    """Write the conversation, whole or not at all.

    Raises:
        OptionError: The file cannot be written, or holds something else than a conversation.
    """
    if path.exists():
        try:
            load_conversation(path)
        except OptionError as error:
            raise OptionError(f"{path} exists and is no saved conversation; choose another name") from error
    values = {
        "format": FORMAT,
        "model": session.model.name,
        "messages": [message.to_dict() for message in session.conversation],
        "settings": session.settings,
    }
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(values, file, ensure_ascii=False, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror}") from error


def load_conversation(path: Path) -> SavedConversation:
    """Read a conversation.

    Raises:
        OptionError: The file cannot be read or is no saved conversation.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise OptionError(f"{path} is no saved conversation: it is not JSON ({error})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise OptionError(f'{path} is no saved conversation: it does not say "format": "{FORMAT}"')
    messages, settings = values.get("messages"), values.get("settings")
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise OptionError(f'{path}: "messages" must be a list of messages with a role and a text')
    if not isinstance(settings, dict):
        raise OptionError(f'{path}: "settings" must be an object')
    conversation = [Message.from_dict(message) for message in messages]
    system = None
    if conversation and conversation[0].role == "system":
        system = str(conversation.pop(0).content)
    return SavedConversation(
        str(values.get("model", "")), system, tuple(conversation), _with_int_keys(settings)
    )


def restore(saved: SavedConversation, session: Session) -> None:
    """Make the session's conversation the saved one.

    Raises:
        OptionError: A setting is impossible with the session's model; the session stays as it is.
    """
    session.replace_settings(saved.settings)
    session.clear()
    session.system = saved.system
    session.messages = list(saved.messages)


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
    )


def _with_int_keys(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON has no integer keys; logit_bias has nothing else."""
    bias = settings.get("logit_bias")
    if not isinstance(bias, dict):
        return settings
    return {**settings, "logit_bias": {int(k) if k.isdecimal() else k: v for k, v in bias.items()}}
