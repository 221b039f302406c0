"""Reading one call, part by part, as its format describes it.

A call is announced once its function is known to exist and its arguments have begun; from then on they are told as they
come. Knows no text around calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from genai.tools.delta import ToolCallDelta
from genai.tools.format import Arguments, CallId, CallObject, Keywords, Maybe, Name, Parameters, Part
from genai.tools.schema import coerce, parameters_of, parse_json
from genai.tools.source import Damaged, Reading, Source
from genai.tools.values import JSON, PYTHON, read_string, read_value

__all__ = ["CallReader", "make_call_id"]

MAX_NAME_CHARACTERS = 256


def make_call_id() -> str:
    """Return a fresh id of a call, as OpenAI's look."""
    import secrets

    return f"call_{secrets.token_hex(12)}"


class CallReader:
    """Reads one call and tells it in pieces.

    Args:
        source: The text.
        tools: The schemas of the parameters of the functions that may be called, by name.
        index: Which call of the answer it is.
        is_sure: Whether it is never withdrawn, but cut where it breaks off.
        make_id: Makes an id for a call that has none.
        tell: Called with the pieces.
    """

    def __init__(
        self,
        source: Source,
        tools: Mapping[str, Mapping[str, Any]],
        *,
        index: int,
        is_sure: bool,
        make_id: Callable[[], str],
        tell: Callable[[ToolCallDelta], None],
    ) -> None:
        self._source = source
        self._tools = tools
        self._index = index
        self._is_sure = is_sure
        self._make_id = make_id
        self._tell = tell
        self._id: str | None = None
        self._name: str | None = None
        self._waits_for_id = False
        self._is_announced = False
        self._pieces: list[str] = []  # of the arguments, not told yet
        self._has_arguments = False
        self._raw_from: int | None = None  # from here on the source itself is the arguments' text

    def read(self, parts: tuple[Part, ...]) -> Reading[None]:
        """Read the call.

        Raises:
            Damaged: It is none, or a damaged one.
        """
        is_open = (
            True  # texts after the arguments may be missing, but for one that tells that they have ended
        )
        for part in parts:
            if not isinstance(part, str):
                yield from self._read_part(part)
                is_open = not self._has_arguments or isinstance(part, Parameters)
            elif is_open:
                yield from self._source.expect(part.strip())
                is_open = not self._has_arguments
            else:
                yield from self._source.match_end(part.strip())
        if self._name is None:
            raise Damaged
        if not self._has_arguments:
            if self._tools[self._name].get("required"):
                raise Damaged
            self._add("{}")
        self._waits_for_id = False
        self.flush()

    def flush(self) -> None:
        """Tell what is settled; whoever drives the reading calls it where the text pauses."""
        if self._raw_from is not None:
            self._add(self._source.text[self._raw_from : self._source.position])
            self._raw_from = self._source.position
        if self._name is None or self._waits_for_id or not (self._pieces or self._is_announced):
            return
        arguments = "".join(self._pieces)
        self._pieces.clear()
        if not self._is_announced:
            self._is_announced = True
            call_id = self._id or self._make_id()
            self._tell(ToolCallDelta(self._index, call_id, self._name, arguments, is_sure=self._is_sure))
        elif arguments:
            self._tell(ToolCallDelta(self._index, arguments=arguments))

    def break_off(self) -> bool:
        """Take back what was told of a call that is damaged, or of a sure one say that it is all.

        Returns:
            Whether what was told stays.
        """
        if not self._is_sure:
            if self._is_announced:
                self._tell(ToolCallDelta(self._index, is_withdrawn=True))
            return False
        if self._raw_from is not None and self._source.is_finished:
            self._source.position = len(self._source.text)
        self.flush()
        if self._is_announced:
            self._tell(ToolCallDelta(self._index, is_cut=True))
        return self._is_announced

    # --- parts ---

    def _read_part(
        self, part: Name | Arguments | Parameters | Keywords | CallObject | CallId | Maybe
    ) -> Reading[None]:
        source = self._source
        yield from source.skip_space()
        match part:
            case Name():
                yield from self._read_name(part)
            case Maybe():
                for text in part.texts:
                    if (yield from source.match(text.strip())):
                        return
            case CallId(begin):
                if (yield from source.match(begin)):
                    self._id = yield from source.read_word()
            case CallObject():
                yield from self._read_object(part)
            case Parameters():
                yield from self._read_parameters(part)
            case Keywords():
                yield from self._read_keywords()
            case Arguments(syntax) if syntax is JSON:
                yield from self._read_json()
            case Arguments(syntax):
                value = yield from read_value(source, syntax)
                if not isinstance(value, dict):
                    raise Damaged
                self._add(_dump({name: self._typed(name, each) for name, each in value.items()}))

    def _read_name(self, part: Name) -> Reading[None]:
        word = yield from self._source.read_word()
        found = re.fullmatch(part.pattern, word)
        if found is None:
            raise Damaged
        self._set_name(found["name"])
        if part.is_id:
            self._id = word

    def _read_object(self, part: CallObject) -> Reading[None]:
        source = self._source
        self._waits_for_id = part.id is not None
        yield from source.expect("{")
        is_first = True
        while True:
            yield from source.skip_space()
            if (yield from source.match("}")):
                return
            if not is_first:
                yield from source.expect(",")
            is_first = False
            key = yield from read_string(source, JSON)
            yield from source.expect(":")
            yield from source.skip_space()
            if key == part.name and self._name is None:
                self._set_name((yield from read_string(source, JSON)))
            elif key in part.arguments and not self._has_arguments:
                yield from self._read_json()
            else:
                value = yield from read_value(source, JSON)
                if key == part.id and isinstance(value, (str, int)):
                    self._id, self._waits_for_id = str(value), False

    def _read_json(self) -> Reading[None]:
        """Read arguments in JSON, which some models write as a text that holds JSON."""
        first = yield from self._source.peek()
        if first == '"':
            self._add(_object_text((yield from read_string(self._source, JSON))))
            return
        if first != "{":
            raise Damaged
        self._has_arguments = True
        self._raw_from = self._source.position
        yield from read_value(self._source, JSON)
        self.flush()
        self._raw_from = None

    def _read_parameters(self, part: Parameters) -> Reading[None]:
        source = self._source
        is_first = True
        while (yield from source.match(part.begin.strip())):
            key = ""
            for number, text in enumerate(part.after_key):
                between = yield from source.read_until(text.strip(), limit=MAX_NAME_CHARACTERS)
                if number and between.strip():
                    raise Damaged
                key = key or between.strip()
            value = yield from source.read_until(part.end.strip())
            if part.trims:
                value = value.removeprefix("\n").removesuffix("\n")
            self._add(f"{'{' if is_first else ', '}{_dump(key)}: {_dump(self._typed(key, value))}")
            is_first = False
            yield from source.skip_space()
        self._add("{}" if is_first else "}")

    def _read_keywords(self) -> Reading[None]:
        source = self._source
        yield from source.expect("(")
        is_first = True
        while True:
            yield from source.skip_space()
            if (yield from source.match(")")):
                break
            if not is_first:
                yield from source.expect(",")
                yield from source.skip_space()
            key = yield from source.read_word()
            if not key.isidentifier():
                raise Damaged
            yield from source.expect("=")
            value = yield from read_value(source, PYTHON)
            self._add(f"{'{' if is_first else ', '}{_dump(key)}: {_dump(value)}")
            is_first = False
        self._add("{}" if is_first else "}")

    # --- what is known of the call ---

    def _set_name(self, name: str) -> None:
        if name not in self._tools:
            raise Damaged
        self._name = name

    def _add(self, piece: str) -> None:
        self._has_arguments = True
        if piece:
            self._pieces.append(piece)

    def _typed(self, name: str, value: Any) -> Any:
        assert self._name is not None
        schema = self._tools[self._name]
        return coerce(value, parameters_of(schema).get(name), schema) if isinstance(value, str) else value


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object_text(text: str) -> str:
    try:
        is_object = isinstance(parse_json(text), dict)
    except ValueError as error:
        raise Damaged from error
    if not is_object:
        raise Damaged
    return text
