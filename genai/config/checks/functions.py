"""A check of functions of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genai.config.checks.check import as_tuple
from genai.errors import OptionError

__all__ = ["Functions"]


@dataclass(frozen=True, slots=True)
class Functions:
    """Python functions; what they take and return is known where they are called."""

    range = "functions"

    @property
    def schema(self) -> Mapping[str, Any]:
        """None: JSON has no functions."""
        return {"not": {}}

    def __call__(self, name: str, value: Any) -> tuple[Callable[..., Any], ...]:
        """Return the functions as a tuple."""
        functions = (value,) if callable(value) else as_tuple(name, value)
        for function in functions:
            if not callable(function):
                raise OptionError(f"{name} must be functions, not {function!r:.200}")
        return functions
