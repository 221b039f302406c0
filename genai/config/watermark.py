"""How generated text is marked so that it can be recognized; names and defaults are transformers'."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from genai.config.checks import AnyOf, Check, Flag, Integer, Number, TokenIds
from genai.errors import OptionError, did_you_mean

__all__ = ["GreenListSettings", "SynthIDSettings", "WatermarkSettings", "Watermarking"]

_FIXED = {"debug_mode": False}
"""Settings of transformers' classes of which only one value can be carried out."""

SCHEMES = ("lefthash", "selfhash")


@dataclass(frozen=True, slots=True)
class GreenListSettings:
    """A watermark that favours a part of the vocabulary after each token (Kirchenbauer et al., 2023).

    Args:
        greenlist_ratio: The share of the vocabulary that is favoured.
        bias: What is added to these tokens' logits.
        hashing_key: The secret that says which they are.
        seeding_scheme: What else does: "lefthash", the last token, or "selfhash", the latest ones with the one that is
            chosen.
        context_width: From how many tokens on text is marked; with "selfhash", how many count, the chosen one included.
    """

    greenlist_ratio: float = 0.25
    bias: float = 2.0
    hashing_key: int = 15485863
    seeding_scheme: str = "lefthash"
    context_width: int = 1


@dataclass(frozen=True, slots=True)
class SynthIDSettings:
    """A watermark that has draws judged by secrets (SynthID-Text, Dathathri et al., 2024).

    Args:
        ngram_len: How many tokens say what is favoured, the one that is drawn included.
        keys: The secrets, one for each round of the tournament.
        context_history_size: How many of the latest contexts are not marked again.
        sampling_table_seed: Which table turns hashes into bits.
        sampling_table_size: How many bits it has.
        skip_first_ngram_calls: Whether the first `ngram_len - 1` tokens are not marked.
    """

    ngram_len: int
    keys: tuple[int, ...]
    context_history_size: int = 1024
    sampling_table_seed: int = 0
    sampling_table_size: int = 65536
    skip_first_ngram_calls: bool = False


WatermarkSettings: TypeAlias = GreenListSettings | SynthIDSettings
"""What a watermark needs to know."""

_CHECKS: dict[str, Check] = {
    "greenlist_ratio": Number(0, 1, is_open=True, is_open_above=True),
    "bias": Number(),
    "hashing_key": Integer(0, 2**64 - 1),
    "seeding_scheme": AnyOf(SCHEMES),
    "context_width": Integer(1, 64),
    "ngram_len": Integer(2, 64),
    "keys": TokenIds(),  # integers as token ids are
    "context_history_size": Integer(1, 2**20),
    "sampling_table_seed": Integer(0, 2**64 - 1),
    "sampling_table_size": Integer(2, 2**24),
    "skip_first_ngram_calls": Flag(),
}


@dataclass(frozen=True, slots=True)
class Watermarking:
    """The settings of a watermark by name, as transformers' configurations write them, or `None`.

    `ngram_len` and `keys` ask for SynthID-Text, anything else for a green list.
    """

    range = "settings by name or None"

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of the settings of one of the two."""
        return {"anyOf": [_schema_of(GreenListSettings), _schema_of(SynthIDSettings)]}

    def __call__(self, name: str, value: Any) -> WatermarkSettings | None:
        """Return the settings."""
        if value is None:
            return None
        if isinstance(value, WatermarkSettings):
            value = dataclasses.asdict(value)
        if not isinstance(value, Mapping):
            raise OptionError(f"{name} must map names of settings to values, not {value!r:.200}")
        kind = SynthIDSettings if value.keys() & {"ngram_len", "keys"} else GreenListSettings
        fields = dataclasses.fields(kind)
        known = [field.name for field in fields]
        given = {}
        for setting, chosen in value.items():
            if setting in _FIXED:
                if chosen is not _FIXED[setting]:
                    raise OptionError(f"{name}: {setting} can only be {_FIXED[setting]!r}, not {chosen!r}")
            elif setting not in known:
                raise OptionError(
                    f'{name} knows no "{setting}".{did_you_mean(str(setting), known)} Here it has {", ".join(known)}'
                )
            else:
                given[setting] = _CHECKS[setting](f"{name}.{setting}", chosen)
        for field in fields:
            if field.default is dataclasses.MISSING and not given.get(field.name):
                raise OptionError(f"{name} needs {field.name}")
        if any(key >= 2**63 for key in given.get("keys", ())):
            raise OptionError(f"{name}.keys must be less than 2**63")
        if given.get("seeding_scheme") == "selfhash" and given.get("hashing_key", 0) >= 2**63:
            raise OptionError(f'{name}.hashing_key must be less than 2**63 with "selfhash"')
        return kind(**given)


def _schema_of(kind: type[GreenListSettings] | type[SynthIDSettings]) -> dict[str, Any]:
    fields = dataclasses.fields(kind)
    fixed = {name: {"const": value} for name, value in _FIXED.items()}
    return {
        "type": "object",
        "properties": {**{field.name: _CHECKS[field.name].schema for field in fields}, **fixed},
        "required": [field.name for field in fields if field.default is dataclasses.MISSING],
        "additionalProperties": False,
    }
