"""Values of generation options as people type them in `/set`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from genai.config import GenerationConfig, GreenListSettings, SynthIDSettings

__all__ = ["OPTION_NAMES", "format_value", "parse_value"]

OPTION_NAMES = tuple(field.name for field in dataclasses.fields(GenerationConfig))

_WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False, "none": None}
_TEXT_OPTIONS = frozenset(
    {"stop", "stop_regex", "bad_words", "dry_sequence_breakers", "negative_prompt", "samplers"}
)


def parse_value(name: str, text: str) -> Any:
    r"""Return the value that a text stands for; whether it is possible is for `GenerationConfig` to say.

    >>> parse_value("temperature", "0.7"), parse_value("do_sample", "off"), parse_value("seed", "None")
    (0.7, False, None)
    >>> parse_value("stop", "END"), parse_value("stop", r'["\n", "END"]'), parse_value("logit_bias", '{"5": -1}')
    ('END', ['\n', 'END'], {5: -1})
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if name in _TEXT_OPTIONS:
        return value if isinstance(value, (str, list)) else text
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if name == "logit_bias" and isinstance(value, dict):
        return {int(key) if key.isdecimal() else key: bias for key, bias in value.items()}
    return value


def format_value(value: Any) -> str:
    """Return a value as `/set` would read it.

    >>> format_value(None), format_value(("a",)), format_value(0.5)
    ('none', '["a"]', '0.5')
    >>> format_value({(1, 2): 0.5}), format_value(GreenListSettings(bias=1.0))
    ('[[[1, 2], 0.5]]', '{"greenlist_ratio": 0.25, "bias": 1.0, "hashing_key": 15485863}')
    """
    if value is None:
        return "none"
    if isinstance(value, (GreenListSettings, SynthIDSettings)):
        value = dataclasses.asdict(value)
    elif isinstance(value, dict) and any(isinstance(key, tuple) for key in value):
        value = list(value.items())
    return json.dumps(value, ensure_ascii=False)
