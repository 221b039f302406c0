"""Typed reading of a checkpoint's config.json: every value is checked where it is asked for.

A missing or wrong value names its key; a value that genai cannot honour is an `UnsupportedModelError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

from genai.errors import CheckpointError, UnsupportedModelError, did_you_mean

__all__ = ["MisreadModelError", "ModelConfig"]


class MisreadModelError(UnsupportedModelError):
    """A model that transformers reads as another one, without a word: its exporter must not be tried on it."""


class ModelConfig:
    """The keys of a config.json, or of a part of one.

    Args:
        values: The keys and values.
        where: Where they come from, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self._values = values
        self._where = where

    @classmethod
    def of_decoder(
        cls,
        values: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any],
        aliases: Mapping[str, str] | None = None,
        outer_tied: bool | None = None,
    ) -> Self:
        """Return the config of the text decoder: `text_config` over the outer keys, if there is one.

        Args:
            values: The content of config.json.
            defaults: What transformers assumes where config.json lacks a key; a null is not a lack.
            aliases: Other names of keys.
            outer_tied: What the class around a `text_config` assumes of `tie_word_embeddings` where that key is missing
                beside it; `None` lets the inner one count.
        """
        where = "config.json"
        merged = dict(values)
        if values.get("text_config") is not None:
            inner = cls(values).part("text_config")
            merged, where = {**merged, **inner._values}, inner._where
            if "tie_word_embeddings" in values:  # the head is the outer model's, and so is its key
                merged["tie_word_embeddings"] = values["tie_word_embeddings"]
            elif outer_tied is not None:
                merged["tie_word_embeddings"] = outer_tied
        for alias, key in (aliases or {}).items():
            if merged.get(alias) is not None:
                merged[key] = merged[alias]
        return cls({**defaults, **merged}, where)

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def is_null(self, key: str) -> bool:
        """Whether the key is there, with a null."""
        return key in self._values and self._values[key] is None

    def integer(self, key: str, default: int | None = None, *, minimum: int = 1) -> int:
        """Return a whole number of at least the minimum; without a default the key is required."""
        value = int(self._number(key, default, (int,), "a whole number"))
        if value < minimum:
            raise self._wrong(key, f"a whole number >= {minimum}", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number; without a default the key is required."""
        value = float(self._number(key, default, (int, float), "a number"))
        if not math.isfinite(value):
            raise self._wrong(key, "a finite number", value)
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """Return a number above 0; without a default the key is required."""
        value = self.number(key, default)
        if value <= 0:
            raise self._wrong(key, "a number > 0", value)
        return value

    def optional_integer(self, key: str) -> int | None:
        """Return a whole number, or `None` where the key is missing or null."""
        return self.integer(key) if key in self else None

    def optional_number(self, key: str) -> float | None:
        """Return a number, or `None` where the key is missing or null."""
        return self.number(key) if key in self else None

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return true or false; without a default the key is required."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """Return a string; without a default the key is required."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers, of which transformers writes the infinite ones as objects."""
        value = self._value(key, None)
        if isinstance(value, list):
            value = [math.inf if each == {"__float__": "Infinity"} else each for each in value]
        if not isinstance(value, list) or not all(isinstance(n, (int, float)) for n in value):
            raise self._wrong(key, "a list of numbers", value)
        return tuple(float(n) for n in value)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        value = self._value(key, None)
        if not isinstance(value, list) or not all(type(n) is int for n in value):
            raise self._wrong(key, "a list of whole numbers", value)
        return tuple(value)

    def numbers_of_layers(self, key: str, num_layers: int) -> tuple[float, ...]:
        """Return a number per layer: from a list of them, or one for all."""
        if not self.is_list(key):
            return (self.number(key),) * num_layers
        values = self.numbers(key)
        if len(values) != num_layers:
            raise self._wrong(key, f"a number or a list of {num_layers}", list(values))
        return values

    def is_list(self, key: str) -> bool:
        """Whether the key has a list of values."""
        return isinstance(self._values.get(key), list)

    def is_text(self, key: str) -> bool:
        """Whether the key has a text."""
        return isinstance(self._values.get(key), str)

    def flags(self, key: str) -> tuple[bool, ...]:
        """Return a list of true and false."""
        value = self._value(key, None)
        if not isinstance(value, list) or not all(isinstance(f, bool) for f in value):
            raise self._wrong(key, "a list of true and false", value)
        return tuple(value)

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self._value(key, None)
        if not isinstance(value, list) or not all(isinstance(s, str) for s in value):
            raise self._wrong(key, "a list of strings", value)
        return tuple(value)

    def part(self, key: str) -> ModelConfig:
        """Return a nested object; an empty one where the key is missing or null."""
        value = self._values.get(key) or {}
        if not isinstance(value, Mapping):
            raise self._wrong(key, "an object", value)
        return ModelConfig(value, f"{self._where}, {key}")

    def part_names(self) -> tuple[str, ...]:
        """Return the keys that hold nested objects, in order."""
        return tuple(sorted(key for key, value in self._values.items() if isinstance(value, Mapping)))

    def choice(self, key: str, allowed: Iterable[str], default: str | None = None) -> str:
        """Return a string that is one of these.

        Raises:
            UnsupportedModelError: It is another one.
        """
        value, known = self.string(key, default), sorted(allowed)
        if value not in known:
            raise UnsupportedModelError(
                f'{self._where}: "{key}" is "{value}", which is not supported; supported are {", ".join(known)}.'
                f"{did_you_mean(value, known)}"
            )
        return value

    def overlaid(self, part: ModelConfig) -> ModelConfig:
        """Return the config with another one's values over its own."""
        return ModelConfig({**self._values, **part._values}, self._where)

    def without(self, *keys: str) -> ModelConfig:
        """Return the config as if it did not have these keys."""
        return ModelConfig(
            {key: value for key, value in self._values.items() if key not in keys}, self._where
        )

    def filled(self, **values: Any) -> ModelConfig:
        """Return the config with these values where it lacks the keys."""
        known = {key: value for key, value in self._values.items() if value is not None}
        return ModelConfig({**self._values, **values, **known}, self._where)

    def refuse(self, key: str, reason: str, *, unless: tuple[Any, ...] = (None, False)) -> None:
        """Refuse the checkpoint if a key has a value other than these.

        Raises:
            UnsupportedModelError: It has.
        """
        value = self._values.get(key)
        if value not in unless:
            raise UnsupportedModelError(
                f'{self._where}: "{key}" is {value!r}, which is not supported: {reason}'
            )

    def refuse_others(self, known: Iterable[str], reason: str) -> None:
        """Refuse the checkpoint if any key but these has a value.

        Raises:
            UnsupportedModelError: One has.
        """
        known = tuple(known)
        for key, value in self._values.items():
            if key not in known and value not in (None, False, [], {}):
                raise UnsupportedModelError(
                    f'{self._where}: "{key}" is {value!r}, which genai does not know: {reason}'
                    f"{did_you_mean(key, known)}"
                )

    def refuse_misread(self, key: str, reason: str, *, unless: tuple[Any, ...] = (None, False)) -> None:
        """Refuse the checkpoint if a key that transformers ignores has a value other than these.

        Raises:
            MisreadModelError: It has.
        """
        try:
            self.refuse(key, reason, unless=unless)
        except UnsupportedModelError as error:
            raise MisreadModelError(f"{error}, and transformers ignores the key") from None

    def unsupported(self, key: str, message: str) -> UnsupportedModelError:
        """Return the error to raise for a value that cannot be honoured."""
        return UnsupportedModelError(f'{self._where}: "{key}" {message}')

    def _value(self, key: str, default: Any) -> Any:
        value = self._values.get(key)
        if value is None:
            value = default
        if value is None:
            raise CheckpointError(f'{self._where}: the key "{key}" is missing')
        return value

    def _number(self, key: str, default: Any, types: tuple[type, ...], wanted: str) -> Any:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, types):
            raise self._wrong(key, wanted, value)
        return value

    def _wrong(self, key: str, wanted: str, value: Any) -> CheckpointError:
        return CheckpointError(f'{self._where}: "{key}" must be {wanted}, not {value!r}')
