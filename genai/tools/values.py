"""Reading a value as it arrives: JSON, Python's literals, and what Gemma writes in their place.

Everything is checked as it is read, so that damage shows at the first character that cannot be: JSON as RFC 8259 has
it, without NaN and without bare control characters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genai.tools.source import ANY_SPACE, JSON_SPACE, Damaged, Reading, Source

__all__ = ["GEMMA", "GEMMA4", "JSON", "PYTHON", "ValueSyntax", "read_string", "read_value"]

MAX_DEPTH = 64

_SCALAR = re.compile(r"[\w.+-]*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_QUOTED = {quote: re.compile(rf"[^{quote}\\]*(?:\\.[^{quote}\\]*)*", re.DOTALL) for quote in "\"'"}
_PYTHON_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PYTHON_CHARACTERS = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "0": "\0",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "\n": "",
}
_JSON_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class ValueSyntax:
    """How a format writes values.

    Args:
        quotes: What stands around a string.
        unescape: Turns what stands between the quotes into the string; `None` takes it as it is, up to the next quote.
        constants: Words that stand for values.
        number: What a number looks like.
        bare_keys: Whether the keys of an object stand without quotes.
        commas: Whether commas are needed between values.
        space: What may stand between the parts of a value.
    """

    quotes: tuple[str, ...]
    unescape: Callable[[str], str] | None
    constants: Mapping[str, Any]
    number: re.Pattern[str] = _NUMBER
    bare_keys: bool = False
    commas: bool = True
    space: re.Pattern[str] = ANY_SPACE


def _unescape_json(text: str) -> str:
    try:
        value = str(json.loads(f'"{text}"'))
        value.encode()  # an escape may stand for half a character, which no text can hold
    except ValueError as error:
        raise Damaged from error
    return value


def _unescape_python(text: str) -> str:
    def replace(found: re.Match[str]) -> str:
        escape = found[1]
        if len(escape) > 1:
            code = int(escape[1:], 16)
            if 0xD800 <= code < 0xE000:  # half a character
                raise Damaged
            return chr(code)
        return _PYTHON_CHARACTERS.get(escape, found[0])

    return _PYTHON_ESCAPE.sub(replace, text)


JSON = ValueSyntax(('"',), _unescape_json, _JSON_CONSTANTS, number=_JSON_NUMBER, space=JSON_SPACE)
PYTHON = ValueSyntax(
    ('"', "'"), _unescape_python, {**_JSON_CONSTANTS, "True": True, "False": False, "None": None}
)
GEMMA = ValueSyntax(("<escape>",), None, _JSON_CONSTANTS, bare_keys=True, commas=False)
GEMMA4 = ValueSyntax(('<|"|>',), None, _JSON_CONSTANTS, bare_keys=True, commas=False)


def read_value(source: Source, syntax: ValueSyntax, *, depth: int = 0) -> Reading[Any]:
    """Return the next value.

    Raises:
        Damaged: There is none, or it is nested more than 64 deep.
    """
    if depth > MAX_DEPTH:
        raise Damaged
    yield from source.skip_space(syntax.space)
    first = yield from source.peek()
    if first == "{":
        return (yield from _read_object(source, syntax, depth))
    if first == "[":
        return (yield from _read_list(source, syntax, depth))
    if first and any(quote.startswith(first) for quote in syntax.quotes):
        return (yield from read_string(source, syntax))
    return (yield from _read_scalar(source, syntax))


def read_string(source: Source, syntax: ValueSyntax) -> Reading[str]:
    """Return the next string.

    Raises:
        Damaged: There is none.
    """
    yield from source.skip_space(syntax.space)
    for quote in syntax.quotes:
        if not (yield from source.match(quote)):
            continue
        if syntax.unescape is None:
            return (yield from source.read_until(quote))
        start = source.position
        while True:
            found = _QUOTED[quote].match(source.text, source.position)
            assert found is not None
            source.position = found.end()
            if source.text.startswith(quote, source.position):
                break
            if source.is_finished:
                raise Damaged
            yield
        text = source.text[start : source.position]
        source.position += len(quote)
        return syntax.unescape(text)
    raise Damaged


def _read_object(source: Source, syntax: ValueSyntax, depth: int) -> Reading[dict[str, Any]]:
    yield from source.expect("{", space=syntax.space)
    values: dict[str, Any] = {}
    while not (yield from _closes(source, "}", syntax, is_first=not values)):
        key = yield from _read_key(source, syntax)
        yield from source.expect(":", space=syntax.space)
        values[key] = yield from read_value(source, syntax, depth=depth + 1)
    return values


def _read_list(source: Source, syntax: ValueSyntax, depth: int) -> Reading[list[Any]]:
    yield from source.expect("[", space=syntax.space)
    values: list[Any] = []
    while not (yield from _closes(source, "]", syntax, is_first=not values)):
        values.append((yield from read_value(source, syntax, depth=depth + 1)))
    return values


def _closes(source: Source, close: str, syntax: ValueSyntax, *, is_first: bool) -> Reading[bool]:
    """Read what stands before a value in a row of them: nothing, a comma, or the end; return whether it was the end."""
    yield from source.skip_space(syntax.space)
    if (yield from source.match(close)):
        return True
    if not is_first and not (yield from source.match(",")) and syntax.commas:
        raise Damaged
    return False


def _read_key(source: Source, syntax: ValueSyntax) -> Reading[str]:
    if not syntax.bare_keys:
        return (yield from read_string(source, syntax))
    yield from source.skip_space(syntax.space)
    key = yield from source.read_run(_SCALAR)
    return key or (yield from read_string(source, syntax))


def _read_scalar(source: Source, syntax: ValueSyntax) -> Reading[Any]:
    word = yield from source.read_run(_SCALAR)
    if word in syntax.constants:
        return syntax.constants[word]
    try:
        if not syntax.number.fullmatch(word):
            raise ValueError
        value = float(word) if any(character in ".eE" for character in word) else int(word)
        if not math.isfinite(value):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise Damaged from error
    return value
