"""Checks of texts, alone or several: words, patterns, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genai.config.checks.check import as_tuple, one_or_several
from genai.config.checks.tokens import TokenIds
from genai.errors import OptionError

__all__ = ["Prompt", "Texts", "Words"]


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts, none of which is empty.

    Args:
        most: Most of them.
        longest: Most characters of one.
    """

    most: int | None = None
    longest: int | None = None

    @property
    def range(self) -> str:
        """What is allowed."""
        limits = [
            f"{self.most} at most" if self.most else "",
            f"{self.longest} characters at most" if self.longest else "",
        ]
        return ", ".join(["texts, not empty", *filter(None, limits)])

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of one or several texts."""
        longest = {} if self.longest is None else {"maxLength": self.longest}
        most = {} if self.most is None else {"maxItems": self.most}
        return one_or_several({"type": "string", "minLength": 1, **longest}, **most)

    def __call__(self, name: str, value: Any) -> tuple[str, ...]:
        """Return the texts as a tuple."""
        texts = as_tuple(name, value)
        for text in texts:
            if not isinstance(text, str) or not text:
                raise OptionError(f"{name} must be non-empty strings, not {text!r}")
            if self.longest is not None and len(text) > self.longest:
                raise OptionError(
                    f"{name}: a text may have {self.longest} characters at most, not {len(text)}"
                )
        if self.most is not None and len(texts) > self.most:
            raise OptionError(f"{name} may be {self.most} texts at most, not {len(texts)}")
        return texts


@dataclass(frozen=True, slots=True)
class Words:
    """Texts or token sequences, none of which is empty."""

    range = "texts or token ids"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of a text, or a list of texts and of lists of token ids."""
        text, token_id = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
        several = {"anyOf": [text, {"type": "array", "items": token_id, "minItems": 1}]}
        return {"anyOf": [text, {"type": "array", "items": several}]}

    def __call__(self, name: str, value: Any) -> tuple[str | tuple[int, ...], ...]:
        """Return the texts, and the ids as tuples."""
        words = []
        for word in as_tuple(name, value):
            if not word or not isinstance(word, str | Sequence):
                raise OptionError(f"{name} must be texts or sequences of token ids, not {word!r}")
            words.append(word if isinstance(word, str) else TokenIds()(name, word) or ())
        return tuple(words)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, or its token ids; or `None`."""

    range = "text, token ids or None"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of a text, or of token ids."""
        several = one_or_several({"type": "integer", "minimum": 0}, minItems=1)
        return {"anyOf": [{"type": "string"}, *several["anyOf"]]}

    def __call__(self, name: str, value: Any) -> str | tuple[int, ...] | None:
        """Return the text, or the ids as a tuple."""
        if value is None or isinstance(value, str):
            return value
        token_ids = TokenIds()(name, value)
        if not token_ids:
            raise OptionError(
                f"{name} has no tokens: leave it out, and the prompt's last token takes its place"
            )
        return token_ids
