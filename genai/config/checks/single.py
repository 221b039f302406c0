"""Checks of single values: numbers, flags, names, one of a few."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.errors import OptionError

__all__ = ["AnyOf", "Flag", "Integer", "LastTokens", "Name", "Number"]


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

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of such a number.

        >>> Number(0, 1, is_open=True).schema
        {'type': 'number', 'exclusiveMinimum': 0, 'maximum': 1}
        """
        limits = {
            "exclusiveMinimum" if self.is_open else "minimum": self.low,
            "exclusiveMaximum" if self.is_open_above else "maximum": self.high,
        }
        return {"type": "number", **{name: limit for name, limit in limits.items() if math.isfinite(limit)}}

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

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of such an integer."""
        return {
            "type": "integer",
            "minimum": self.low,
            **({} if self.high is None else {"maximum": self.high}),
        }

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

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of these."""
        return {"type": "boolean"}

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

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of these."""
        return {"enum": list(self.values)}

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is one of these."""
        if not any(value == known and type(value) is type(known) for known in self.values):
            raise OptionError(f"{name} must be {self.range}, not {value!r}")
        return value


@dataclass(frozen=True, slots=True)
class Name:
    """A name, or `None`; which names there are, the model knows."""

    range = "name or None"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of a name."""
        return {"type": "string", "minLength": 1}

    def __call__(self, name: str, value: Any) -> Any:
        """See that the value is a text."""
        if value is None or (isinstance(value, str) and value):
            return value
        raise OptionError(f"{name} must be a {self.range}, not {value!r}")


@dataclass(frozen=True, slots=True)
class LastTokens:
    """How many of the latest tokens count; `None`, or llama.cpp's -1, is all."""

    range = "integer >= 0 or None"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of such a number, or -1."""
        return {"type": "integer", "minimum": -1}

    def __call__(self, name: str, value: Any) -> int | None:
        """Return the number, or `None`."""
        found: int | None = Integer(0, or_none=True)(name, None if value == -1 else value)
        return found


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
