"""What form an answer must have, as a frozen value: a JSON schema, any JSON object, a regex, choices, or a grammar.

Knows no tokenizer and no engine: whether a form can be kept is found out where it is compiled (`genai.structured`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from genai.config.class_schema import ClassReader, class_reader
from genai.config.schema_keywords import TYPES
from genai.errors import OptionError, did_you_mean

__all__ = ["JSON_WHITESPACE", "FormatCheck", "ResponseFormat", "ResponseFormatLike"]

JSON_WHITESPACE = r" |\n[ \t]{0,24}"
"""What may stand between the parts of JSON: without a bound, a small model goes on and on with it."""

Kind = Literal["json", "regex", "choices", "lark", "gbnf"]

ResponseFormatLike: TypeAlias = "ResponseFormat | Mapping[str, Any] | Sequence[str] | str | type"
"""What stands for a `ResponseFormat`; see `ResponseFormat.of`."""

_TAGS: Mapping[str, tuple[str, ...]] = {
    "text": (),
    "json_object": ("schema",),
    "json_schema": ("json_schema", "schema", "name", "description", "strict"),
    "regex": ("regex",),
    "choices": ("choices",),
    "grammar": ("grammar", "syntax"),
}
"""What "type" may be where it is none of a JSON schema's, and the keys that may stand beside it."""


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    r"""The form that an answer must have.

    Args:
        kind: How to read `source`.
        source: The form as text: a JSON schema, a regex (Rust's syntax, of the whole answer), a JSON list of texts,
            a Lark or a GBNF grammar.
        reader: What makes an instance of a class of an answer in JSON.

    >>> ResponseFormat.of(["yes", "no"])
    ResponseFormat(kind='choices', source='["yes", "no"]', reader=None)
    >>> ResponseFormat.of({"type": "regex", "regex": r"\d+"}).kind
    'regex'
    >>> ResponseFormat.of({"type": "object"}).parse("{}")
    {}
    """

    kind: Kind
    source: str
    reader: ClassReader | None = None

    @classmethod
    def of(cls, value: ResponseFormatLike) -> Self | None:
        """Return what a value stands for.

        Args:
            value: A JSON schema; "json" for any JSON object; OpenAI's `{"type": "json_object"}` and
                `{"type": "json_schema", "json_schema": {"schema": ...}}`, or the schema beside the type; a pydantic model or a dataclass; a list of
                texts to choose from; `{"type": "regex", "regex": ...}`, `{"type": "choices", "choices": [...]}`,
                `{"type": "grammar", "grammar": ...}` (Lark, or GBNF where it has rules with `::=`).

        Returns:
            The form; None for `{"type": "text"}`, which is any text.

        Raises:
            OptionError: It stands for nothing.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, type):
            reader = class_reader(value)
            return cls("json", _to_json(reader.schema()), reader)
        if isinstance(value, Mapping):
            return cls._of_mapping(value)
        if value == "json":
            return cls.json_object()
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            return cls.choices(value)
        raise OptionError(
            f'response_format must be a JSON schema, "json", a class, a list of texts or a ResponseFormat, not {value!r:.200}'
        )

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any]) -> Self:
        """Return the form of the JSON that a schema allows; properties come in the schema's order."""
        return cls("json", _to_json(schema))

    @classmethod
    def json_object(cls) -> Self:
        """Return the form of any JSON object."""
        return cls("json", '{"type": "object"}')

    @classmethod
    def regex(cls, pattern: str) -> Self:
        """Return the form of what a regex matches from beginning to end."""
        return cls("regex", _text("regex", pattern))

    @classmethod
    def choices(cls, texts: Sequence[str]) -> Self:
        """Return the form of one of several texts."""
        if isinstance(texts, (str, bytes)) or not texts:
            raise OptionError(f"response_format: choices must be a list of texts, not {texts!r:.200}")
        return cls("choices", _to_json([_text("choices", text) for text in texts]))

    @classmethod
    def grammar(cls, text: str, *, syntax: Literal["lark", "gbnf"] | None = None) -> Self:
        """Return the form of what a grammar derives; unless `syntax` says, GBNF is known by its `::=`."""
        if syntax not in ("lark", "gbnf", None):
            raise OptionError(f'response_format: syntax must be "lark" or "gbnf", not {syntax!r:.200}')
        text = _text("grammar", text)
        return cls(syntax or ("gbnf" if "::=" in text else "lark"), text)

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping that `of` reads as the same form, but for a class that its answers are instances of.

        >>> ResponseFormat.of(["yes", "no"]).to_dict()
        {'type': 'choices', 'choices': ['yes', 'no']}
        """
        if self.kind == "json":
            return {"type": "json_schema", "json_schema": {"schema": json.loads(self.source)}}
        if self.kind == "choices":
            return {"type": "choices", "choices": json.loads(self.source)}
        if self.kind == "regex":
            return {"type": "regex", "regex": self.source}
        return {"type": "grammar", "grammar": self.source, "syntax": self.kind}

    def parse(self, text: str) -> Any:
        """Return what a complete answer stands for: its JSON value, an instance of the class, or the text itself.

        Raises:
            ValueError: The class refuses it, or Python cannot hold it.
        """
        if self.kind != "json":
            return text
        return json.loads(text) if self.reader is None else self.reader.read(text)

    @classmethod
    def _of_mapping(cls, value: Mapping[str, Any]) -> Self | None:
        tag = value.get("type")
        if not isinstance(tag, str) or tag in TYPES:
            return cls.json_schema(value)
        if tag not in _TAGS:
            raise OptionError(
                f'response_format: there is no type "{tag}".{did_you_mean(tag, (*_TAGS, *TYPES))}'
            )
        for key in value.keys() - {"type"}:
            if key not in _TAGS[tag]:
                raise OptionError(
                    f'response_format of type "{tag}" has no key "{key}".{did_you_mean(str(key), _TAGS[tag])}'
                )
        if tag == "text":
            return None
        if tag == "json_object" and "schema" not in value:
            return cls.json_object()
        if tag in ("json_object", "json_schema"):
            inner = value.get("json_schema", value)
            if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), Mapping):
                raise OptionError(f'response_format of type "{tag}" must hold a "schema", which is an object')
            return cls.json_schema(inner["schema"])
        if tag == "regex":
            return cls.regex(_part(value, "regex"))
        if tag == "choices":
            return cls.choices(_part(value, "choices"))
        return cls.grammar(_part(value, "grammar"), syntax=value.get("syntax"))


@dataclass(frozen=True, slots=True)
class FormatCheck:
    """A form of answers, or what stands for one."""

    range = "schema, class, choices, regex, grammar or None"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of what stands for one in JSON; which objects do, `ResponseFormat.of` knows."""
        choices = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
        return {"anyOf": [{"const": "json"}, choices, {"type": "object"}]}

    def __call__(self, name: str, value: Any) -> ResponseFormat | None:  # noqa: ARG002 - `of` names the option
        """Return the form."""
        return None if value is None else ResponseFormat.of(value)


def _part(value: Mapping[str, Any], name: str) -> Any:
    if name not in value:
        raise OptionError(
            f'response_format of type "{name}" must have the key "{name}".{did_you_mean(name, value)}'
        )
    return value[name]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise OptionError(f"response_format: {name} must be a text, not empty, and not {value!r:.200}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise OptionError(f"response_format: {name} must be valid Unicode: {error}") from error
    return value


def _to_json(value: Any) -> str:
    try:
        return _text("schema", json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(f"response_format: the schema is no JSON: {error}") from error
