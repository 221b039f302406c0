"""What values an option may have: each check names the option in its error, and tells its range for the documentation.

A check returns the value as it is kept: where several are meant, a single one becomes a tuple of one, as Hugging Face has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from genai.errors import OptionError

__all__ = [
    "AnyOf",
    "Biases",
    "Check",
    "Decay",
    "Flag",
    "Functions",
    "Integer",
    "LastTokens",
    "Name",
    "Number",
    "Prompt",
    "SequenceBiases",
    "Texts",
    "TokenIds",
    "as_tuple",
]


class Check(Protocol):
    """Tells whether an option's value is possible."""

    @property
    def range(self) -> str:
        """The possible values, for people."""
        ...

    def __call__(self, name: str, value: Any) -> Any:
        """Return a value as it is kept.

        Raises:
            OptionError: It is impossible.
        """
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number.

    Args:
        low: The least.
        high: The greatest.
        is_open: Whether `low` itself is impossible.
        is_open_above: Whether `high` itself is.
        or_none: Whether `None` is possible too.
    """

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False
    is_open_above: bool = False
    or_none: bool = False

    @property
    def range(self) -> str:
        """The possible values, for people.

        >>> Number(0, 1, is_open=True).range
        'number > 0 and <= 1'
        """
        if self.low == -math.inf:
            return "number"
        above = "<" if self.is_open_above else "<="
        upper = f" and {above} {self.high:g}" if self.high < math.inf else ""
        none = " or None" if self.or_none else ""
        return f"number {'>' if self.is_open else '>='} {self.low:g}{upper}{none}"

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is such a number."""
        if value is None and self.or_none:
            return None
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)
        ends = (self.low,) * self.is_open + (self.high,) * self.is_open_above
        if not good or not self.low <= value <= self.high or value in ends:
            raise OptionError(f"{name} must be a {self.range}, not {value!r}")
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer.

    Args:
        low: The least.
        high: The greatest; `None` is no limit.
        or_none: Whether `None` is possible too.
    """

    low: int
    high: int | None = None
    or_none: bool = False

    @property
    def range(self) -> str:
        """The possible values, for people.

        >>> Integer(1, or_none=True).range
        'integer >= 1 or None'
        """
        upper = f" and <= {self.high}" if self.high is not None else ""
        return f"integer >= {self.low}{upper}{' or None' if self.or_none else ''}"

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is such an integer."""
        if value is None and self.or_none:
            return None
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or value < self.low or (self.high is not None and value > self.high):
            raise OptionError(f"{name} must be an {self.range}, not {value!r}")
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """True or False.

    Args:
        or_none: Whether `None` is possible too.
    """

    or_none: bool = False

    @property
    def range(self) -> str:
        """The possible values, for people."""
        return "True, False or None" if self.or_none else "True or False"

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is one of these."""
        if not isinstance(value, bool) and not (value is None and self.or_none):
            raise OptionError(f"{name} must be {self.range}, not {value!r}")
        return value


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of a few values, which are compared by type too: 1 is not True."""

    values: tuple[Any, ...]

    @property
    def range(self) -> str:
        """The possible values, for people.

        >>> AnyOf((True, False, "never")).range
        'True, False or "never"'
        """
        *most, last = (f'"{value}"' if isinstance(value, str) else repr(value) for value in self.values)
        return f"{', '.join(most)} or {last}"

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is one of these."""
        if not any(value == known and type(value) is type(known) for known in self.values):
            raise OptionError(f"{name} must be {self.range}, not {value!r}")
        return value


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


@dataclass(frozen=True, slots=True)
class Functions:
    """Python functions; what they take and return is known where they are called."""

    range = "functions"

    def __call__(self, name: str, value: Any) -> tuple[Callable[..., Any], ...]:
        """Return the functions as a tuple."""
        functions = (value,) if callable(value) else as_tuple(name, value)
        for function in functions:
            if not callable(function):
                raise OptionError(f"{name} must be functions, not {function!r:.200}")
        return functions


@dataclass(frozen=True, slots=True)
class Name:
    """A name, or `None`; which names there are, the model knows."""

    range = "name or None"

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is a text."""
        if value is None or (isinstance(value, str) and value):
            return value
        raise OptionError(f"{name} must be a {self.range}, not {value!r}")


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Token ids.

    Args:
        or_none: Whether `None` is something else than no ids.
    """

    or_none: bool = False

    @property
    def range(self) -> str:
        """The possible values, for people."""
        return f"token ids{' or None' if self.or_none else ''}"

    def __call__(self, name: str, value: Any) -> tuple[int, ...] | None:
        """Return the ids as a tuple."""
        if value is None and self.or_none:
            return None
        token_ids = as_tuple(name, value)
        for token_id in token_ids:
            if not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0:
                raise OptionError(f"{name} must be token ids (integers >= 0), not {token_id!r}")
        return token_ids


@dataclass(frozen=True, slots=True)
class Biases:
    """Numbers by token id; minus infinity bans a token."""

    range = "{token id: number}; -inf bans"

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value maps token ids to numbers."""
        if not isinstance(value, Mapping):
            raise OptionError(f"{name} must map token ids to numbers, not {value!r}")
        TokenIds()(name, tuple(value))
        for bias in value.values():
            if bias != -math.inf:
                Number()(name, bias)
        return value


@dataclass(frozen=True, slots=True)
class SequenceBiases:
    """Numbers by token sequence, as a mapping or, as in files, as pairs of a list and a number."""

    range = "{(token ids): number}"

    def __call__(self, name: str, value: Any) -> dict[tuple[int, ...], float]:
        """Return the numbers by tuples of token ids."""
        pairs = value.items() if isinstance(value, Mapping) else as_tuple(name, value)
        found = {}
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise OptionError(f"{name} must map sequences of token ids to numbers, not {value!r}")
            token_ids = TokenIds()(name, pair[0])
            if not token_ids:
                raise OptionError(f"{name} names a sequence without tokens")
            Biases()(name, {token_ids[0]: pair[1]})
            found[token_ids] = pair[1]
        return found


@dataclass(frozen=True, slots=True)
class LastTokens:
    """How many of the latest tokens count; `None`, or llama.cpp's -1, is all."""

    range = "integer >= 0 or None"

    def __call__(self, name: str, value: Any) -> int | None:
        """Return the number, or `None`."""
        found: int | None = Integer(0, or_none=True)(name, None if value == -1 else value)
        return found


@dataclass(frozen=True, slots=True)
class Decay:
    """A start, in tokens, and a factor; or `None`."""

    range = "(integer >= 0, number > 0) or None"

    def __call__(self, name: str, value: Any) -> tuple[int, float] | None:
        """Return the two as a tuple."""
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise OptionError(f"{name} must be {self.range}, not {value!r}")
        return Integer(0)(f"{name}[0]", value[0]), Number(0, is_open=True)(f"{name}[1]", value[1])


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    """Return one or several values as a tuple."""
    if value is None:
        return ()
    if isinstance(value, (str, int)):
        return (value,)
    if not isinstance(value, Iterable):
        raise OptionError(f"{name} must be a list, not {value!r}")
    return tuple(value)
