"""The steps between logits and a draw that a caller can put in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.config.checks import as_tuple, one_or_several
from genai.errors import OptionError, did_you_mean

__all__ = ["NEUTRAL_FILTERS", "SAMPLERS", "SamplerOrder"]

SAMPLERS = (
    *("temperature", "top_n_sigma", "top_k", "top_p", "min_p"),
    *("typical_p", "epsilon_cutoff", "eta_cutoff", "xtc"),
)
"""Their names, in the order that is the default: transformers', with llama.cpp's where they belong among them."""

NEUTRAL_FILTERS = {
    "top_n_sigma": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "xtc_probability": 0.0,
}
"""The options that leave tokens out of a draw, each with the value at which it leaves out none."""

_ALIASES = {"typ_p": "typical_p"}  # llama.cpp's


@dataclass(frozen=True, slots=True)
class SamplerOrder:
    """Some of `SAMPLERS`, each once, in the order in which they apply; none are all in their default order."""

    @property
    def range(self) -> str:
        """The possible values, for people."""
        return f"names: {', '.join(SAMPLERS)}"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of one or several names."""
        return one_or_several({"enum": [*SAMPLERS, *_ALIASES]})

    def __call__(self, name: str, value: Any) -> tuple[str, ...]:
        """Return the names as a tuple, llama.cpp's translated."""
        names = as_tuple(name, value)
        for each in names:
            if not isinstance(each, str) or (each not in SAMPLERS and each not in _ALIASES):
                raise OptionError(
                    f'{name} knows no "{each}".{did_you_mean(str(each), SAMPLERS)} '
                    f"It orders {', '.join(SAMPLERS)}; penalties and bans always come before these"
                )
        order = tuple(_ALIASES.get(each, each) for each in names)
        if len(set(order)) < len(order):
            raise OptionError(f"{name} must name each step once, not {', '.join(order)}")
        return order
