"""What every check of an option's value is, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from genai.errors import OptionError

__all__ = ["Check", "as_tuple", "one_or_several"]


class Check(Protocol):
    """Tells whether an option's value is possible."""

    @property
    def range(self) -> str:
        """The possible values, for people."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of the possible values, as JSON has them; whether they may be null is not its business."""
        ...

    def __call__(self, name: str, value: Any) -> Any:
        """Return a value as it is kept.

        Raises:
            OptionError: It is impossible.
        """
        ...


def as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    """Return one or several values as a tuple."""
    if value is None:
        return ()
    if isinstance(value, (str, int)):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise OptionError(f"{name} must be a list, not {value!r}")
    return tuple(value)


def one_or_several(item: Mapping[str, Any], **limits: int) -> dict[str, Any]:
    """Return the schema of a list, for which a single value may stand."""
    return {"anyOf": [item, {"type": "array", "items": item, **limits}]}
