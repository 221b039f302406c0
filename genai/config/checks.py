"""What values an option may have: each check names the option in its error, and tells its range for the documentation.

A check returns the value as it is kept: where several are meant, a single one becomes a tuple of one, as Hugging Face has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from genai.errors import OptionError

__all__ = [
    "AnyOf",
    "Biases",
    "Check",
    "Flag",
    "Integer",
    "Name",
    "Number",
    "Texts",
    "TokenIds",
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
    """

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False

    @property
    def range(self) -> str:
        """The possible values, for people.

        >>> Number(0, 1, is_open=True).range
        'number > 0 and <= 1'
        """
        if self.low == -math.inf:
            return "number"
        upper = f" and <= {self.high:g}" if self.high < math.inf else ""
        return f"number {'>' if self.is_open else '>='} {self.low:g}{upper}"

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is such a number."""
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not self.low <= value <= self.high or (self.is_open and value == self.low):
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
    """Texts, none of which is empty."""

    range = "texts, not empty"

    def __call__(self, name: str, value: Any) -> tuple[str, ...]:
        """Return the texts as a tuple."""
        texts = _as_tuple(name, value)
        for text in texts:
            if not isinstance(text, str) or not text:
                raise OptionError(f"{name} must be non-empty strings, not {text!r}")
        return texts


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
        token_ids = _as_tuple(name, value)
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


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if isinstance(value, (str, int)):
        return (value,)
    if not isinstance(value, Iterable):
        raise OptionError(f"{name} must be a list, not {value!r}")
    return tuple(value)
