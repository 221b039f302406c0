"""Values of generation options as people type them, in `/set` and `--set`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from genai.config import (
    CODE_OPTIONS,
    GenerationConfig,
    GreenListSettings,
    ResponseFormat,
    SynthIDSettings,
    did_you_mean_option,
    options_of,
)
from genai.errors import OptionError

__all__ = ["OPTION_NAMES", "format_value", "option_name", "parse_value"]

_OPTIONS = {name: known for name, known in options_of(GenerationConfig).items() if name not in CODE_OPTIONS}
OPTION_NAMES = tuple(_OPTIONS)

_WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


def option_name(text: str) -> str:
    """Return the name of the option that a text names, in the command line's spelling or Python's.

    Raises:
        OptionError: There is none.

    >>> option_name(" top-k ")
    'top_k'
    """
    name = text.strip().replace("-", "_")
    if name not in _OPTIONS:
        raise OptionError(f'unknown generation option "{name}".{did_you_mean_option(name, _OPTIONS)}')
    return name


def parse_value(name: str, text: str) -> Any:
    r"""Return the value that a text stands for: the first that the option may have of None, the text, JSON and a word.

    Whether it goes with other options is for `GenerationConfig` to say, and so is what is wrong with one that is impossible.

    >>> parse_value("temperature", "0.7"), parse_value("do_sample", "off"), parse_value("seed", "None")
    (0.7, False, None)
    >>> parse_value("stop", "END"), parse_value("stop", r'["\n", "END"]'), parse_value("logit_bias", '{"5": -1}')
    ('END', ['\n', 'END'], {5: -1})
    >>> parse_value("speculative", "off"), parse_value("stop", "5"), parse_value("stop_token_ids", "5")
    ('off', '5', 5)
    """
    word = text.lower()
    if word == "none" and _is_possible(name, None):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _WORDS[word] if word in _WORDS and not _is_possible(name, text) else text
    if name == "logit_bias" and isinstance(value, dict):
        value = {int(key) if key.isdecimal() else key: bias for key, bias in value.items()}
    is_scalar = not isinstance(value, (str, list, dict))
    return text if is_scalar and _is_possible(name, text) else value


def format_value(value: Any) -> str:
    """Return a value as `parse_value` would read it.

    >>> format_value(None), format_value(("a",)), format_value(0.5), format_value("off")
    ('none', '["a"]', '0.5', '"off"')
    >>> format_value({(1, 2): 0.5})
    '[[[1, 2], 0.5]]'
    >>> format_value(ResponseFormat.choices(["yes", "no"]))
    '{"type": "choices", "choices": ["yes", "no"]}'
    """
    if value is None:
        return "none"
    if isinstance(value, (GreenListSettings, SynthIDSettings)):
        value = dataclasses.asdict(value)
    elif isinstance(value, ResponseFormat):
        value = value.to_dict()
    elif isinstance(value, dict) and any(isinstance(key, tuple) for key in value):
        value = list(value.items())
    return json.dumps(value, ensure_ascii=False)


def _is_possible(name: str, value: Any) -> bool:
    """Whether an option may have a value; None is one only where it is something else than nothing at all."""
    try:
        checked = _OPTIONS[name].check(name, value)
    except OptionError:
        return False
    return value is not None or checked is None
