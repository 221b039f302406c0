"""The input of a call in which an answer ended, as Anthropic's clients read it off a stream: what of it is whole."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["cut_input"]

_CLOSING = {"{": "}", "[": "]"}


def cut_input(text: str) -> dict[str, Any]:
    """Return the object of which a text is the beginning, as far as its members and their items are whole.

    >>> cut_input('{"at": "there", "for": ["me", "yo')
    {'at': 'there', 'for': ['me']}
    """
    end, closers = 0, ""  # where the last value ended, or none had begun, and what was open there
    open_brackets: list[str] = []
    is_text = is_escaped = False
    for place, character in enumerate(text):
        if is_text:
            is_text = is_escaped or character != '"'
            is_escaped = character == "\\" and not is_escaped
        elif character == '"':
            is_text = True
        elif character in _CLOSING:
            open_brackets.append(_CLOSING[character])
            end, closers = place + 1, "".join(reversed(open_brackets))
        elif character == ",":
            end, closers = place, "".join(reversed(open_brackets))
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
            end, closers = place + 1, "".join(reversed(open_brackets))
    if not is_text:
        try:
            return _object(text + "".join(reversed(open_brackets)))
        except ValueError:
            pass  # it ends in a number, a word, a name or a sign that is not whole
    return _object(text[:end] + closers)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text or "{}")
    return value if isinstance(value, dict) else {}
