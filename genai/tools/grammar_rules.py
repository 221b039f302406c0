"""The text of a grammar: its rules, and how literals, special tokens, free texts and JSON are written in Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from genai.config import JSON_WHITESPACE
from genai.tools.schema import without_annotations

__all__ = ["SPACE", "PrepareSchema", "Rules"]

PrepareSchema: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Changes a JSON schema so that it is enforced wholly, or refuses it with an `OptionError`."""

SPACE = r"/[ \n]{0,2}/"
_ANYTHING = "/(?s:.*)/"


class Rules:
    """Collects the rules of one grammar; equal rules are one.

    Args:
        tokens: Ids of the texts that are tokens of their own.
        left_out: Tokens that are not written.
        prepare: Changes schemas so that they are enforced wholly, or refuses them.
        is_lenient: Whether markers may have other white space around them than they are described with, or none.
    """

    def __init__(
        self,
        tokens: Mapping[str, int],
        *,
        left_out: frozenset[str] = frozenset(),
        prepare: PrepareSchema | None = None,
        is_lenient: bool = False,
    ) -> None:
        self._is_lenient = is_lenient
        self._prepare = prepare or dict
        self._tokens = tokens
        self._left_out = left_out
        ordered = sorted(filter(None, tokens), key=len, reverse=True)
        self._token = re.compile(f"({'|'.join(map(re.escape, ordered))})") if ordered else None
        self._definitions: dict[str, str] = {}
        self._name_of: dict[str, str] = {}

    def add(self, kind: str, body: str, *, attributes: str = "") -> str:
        """Return the name of a rule with this body."""
        definition = f"{attributes}: {body}"
        if definition not in self._name_of:
            name = self._name_of[definition] = self.reserve(kind)
            self._definitions[name] = definition
        return self._name_of[definition]

    def reserve(self, kind: str) -> str:
        """Return the name of a rule that `define` defines, for one that refers to itself."""
        name = f"{kind}_{len(self._definitions)}"
        self._definitions[name] = ""
        return name

    def define(self, name: str, body: str) -> None:
        """Define a reserved rule."""
        self._definitions[name] = f": {body}"

    def literal(self, text: str) -> str:
        r"""Return what stands for exactly this text; nothing for an empty one.

        >>> Rules({"<s>": 7}).literal('<s>"a"')
        '<[7]> "\\"a\\""'
        """
        parts = self._token.split(text) if self._token is not None else [text]
        return " ".join(
            f"<[{self._tokens[part]}]>" if part in self._tokens else json.dumps(part, ensure_ascii=False)
            for part in parts
            if part and part not in self._left_out
        )

    def marker(self, text: str, *, left: str = SPACE, right: str = SPACE) -> str:
        r"""Return what stands for a text around a call, of which the white space at its ends may differ.

        Args:
            text: The text.
            left: What may stand in place of white space that it begins with, where markers are lenient.
            right: And of that which it ends with.

        >>> Rules({}, is_lenient=True).marker("\n</call>")
        '/[ \\n]{0,2}/ "</call>"'
        """
        bare = text.strip()
        if not self._is_lenient or not bare:
            return self.literal(text)
        parts = (left if text[0].isspace() else "", self.literal(bare), right if text[-1].isspace() else "")
        return " ".join(filter(None, parts))

    def marked_text(self, end: str) -> str:
        """Return what stands for any text and the marker that ends it."""
        if not self._is_lenient:
            return self.text_until(end)
        return f"{self.text_until(end.strip())} {SPACE if end[-1].isspace() else ''}".strip()

    def begins_with_token(self, text: str) -> bool:
        """Whether a text begins with a token of its own."""
        return self._token is not None and self._token.match(text) is not None

    def text_until(self, end: str) -> str:
        """Return what stands for any text and the end of it, which does not stand in the text itself."""
        if self._token is None or self._token.search(end) is None:
            suffix = json.dumps(end, ensure_ascii=False)
            return self.add("text", _ANYTHING, attributes=f"[suffix={suffix}]")
        return f"{self.add('text', _ANYTHING)} {self.literal(end)}"

    def thought_until(self, end: str) -> str:
        """Return what stands for any tokens and the end of them, which does not stand in their text itself.

        Tokens of their own may stand among them as well, but for those that end an answer.
        """
        others = _ranges(i for text, i in self._tokens.items() if text != end and text not in self._left_out)
        if not others:
            return self.text_until(end)
        escaped = re.sub(r"\W", lambda found: f"\\x{{{ord(found[0]):x}}}", end)
        text = self.add("THOUGHT", f"{_ANYTHING} & ~/(?s:.*){escaped}(?s:.*)/")
        last = f"{text}? {self.literal(end)}" if end in self._tokens else self.text_until(end)
        return f"({text}? <[{others}]>)* {last}"

    def json(self, schema: Mapping[str, Any]) -> str:
        """Return what stands for a JSON value of a schema."""
        spaced = {
            **self._prepare(without_annotations(schema)),
            "x-guidance": {"whitespace_pattern": JSON_WHITESPACE},
        }
        return self.add("json", f"%json {json.dumps(spaced, ensure_ascii=False)}")

    def write(self, start: str) -> str:
        """Return the grammar of `start`."""
        rules = [f"{name}{definition}" for name, definition in self._definitions.items()]
        return "\n".join([f"start: {start.strip()}", *rules, ""])


def _ranges(token_ids: Iterable[int]) -> str:
    """Return token ids as llguidance's ranges.

    >>> _ranges([9, 3, 4, 5])
    '3-5,9-9'
    """
    ranges: list[list[int]] = []
    for token_id in sorted(token_ids):
        if ranges and token_id == ranges[-1][1] + 1:
            ranges[-1][1] = token_id
        else:
            ranges.append([token_id, token_id])
    return ",".join(f"{first}-{last}" for first, last in ranges)
