"""How generated text is marked so that it can be recognized."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.config.checks import Integer, Number
from genai.errors import OptionError, did_you_mean

__all__ = ["WatermarkSettings", "Watermarking"]

_FIXED = {"seeding_scheme": "lefthash", "context_width": 1}
"""Settings of transformers' WatermarkingConfig of which only one value can be carried out."""


@dataclass(frozen=True, slots=True)
class WatermarkSettings:
    """A watermark of Kirchenbauer et al. (2023), with transformers' names and defaults.

    Args:
        greenlist_ratio: The share of the vocabulary that is favoured after each token.
        bias: What is added to these tokens' logits.
        hashing_key: The secret that says which they are.
    """

    greenlist_ratio: float = 0.25
    bias: float = 2.0
    hashing_key: int = 15485863


@dataclass(frozen=True, slots=True)
class Watermarking:
    """The settings of a watermark by name, as transformers' WatermarkingConfig writes them, or `None`."""

    range = "settings by name or None"

    def __call__(self, name: str, value: Any) -> WatermarkSettings | None:
        """Return the settings."""
        if value is None or isinstance(value, WatermarkSettings):
            return value
        if not isinstance(value, Mapping):
            raise OptionError(f"{name} must map names of settings to values, not {value!r:.200}")
        known = {field.name for field in dataclasses.fields(WatermarkSettings)}
        given = dict(value)
        for setting, only in _FIXED.items():
            if given.pop(setting, only) != only:
                raise OptionError(f"{name}: {setting} can only be {only!r}, not {value[setting]!r}")
        for setting in given:
            if setting not in known:
                raise OptionError(
                    f'{name} knows no "{setting}".{did_you_mean(str(setting), known)} It has {", ".join(sorted(known))}'
                )
        settings = WatermarkSettings(**given)
        Number(0, 1, is_open=True, is_open_above=True)(f"{name}.greenlist_ratio", settings.greenlist_ratio)
        Number()(f"{name}.bias", settings.bias)
        Integer(0, 2**64 - 1)(f"{name}.hashing_key", settings.hashing_key)
        return settings
