"""Checks of token ids, and of numbers for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.config.checks.check import as_tuple, one_or_several
from genai.config.checks.single import Integer, Number
from genai.errors import OptionError

__all__ = ["Biases", "Decay", "SequenceBiases", "TokenIds"]


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

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of one or several ids."""
        return one_or_several({"type": "integer", "minimum": 0})

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

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of an object, whose keys are texts in JSON, and whose numbers are finite."""
        return {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]{1,9}$"},
            "additionalProperties": {"type": "number"},
        }

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

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of pairs, since JSON has no such keys, or of no object but an empty one."""
        token_ids = one_or_several({"type": "integer", "minimum": 0}, minItems=1)
        pair = {"prefixItems": [token_ids, {"type": "number"}], "minItems": 2, "maxItems": 2}
        return {"anyOf": [{"type": "array", "items": {"type": "array", **pair}}, {"const": {}}]}

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
class Decay:
    """A start, in tokens, and a factor; or `None`."""

    range = "(integer >= 0, number > 0) or None"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of a list of the two."""
        items = [Integer(0).schema, Number(0, is_open=True).schema]
        return {"type": "array", "prefixItems": items, "minItems": 2, "maxItems": 2}

    def __call__(self, name: str, value: Any) -> tuple[int, float] | None:
        """Return the two as a tuple."""
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise OptionError(f"{name} must be {self.range}, not {value!r}")
        return Integer(0)(f"{name}[0]", value[0]), Number(0, is_open=True)(f"{name}[1]", value[1])
