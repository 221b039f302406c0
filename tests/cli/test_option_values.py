"""Values of options as people type them: what is shown is read back, and every option can be said."""

from __future__ import annotations

from typing import Any

import pytest

from genai.cli.generation_flags import AnyOptionFlags, FormatFlags, GenerationFlags, given_options
from genai.cli.option_values import OPTION_NAMES, format_value, parse_value
from genai.config import (
    GenerationConfig,
    GreenListSettings,
    ResponseFormat,
    SynthIDSettings,
    options_of,
)
from genai.errors import OptionError

OPTIONS = options_of(GenerationConfig)
FORMS = (
    ResponseFormat.json_object(),
    ResponseFormat.json_schema({"type": "object", "properties": {"b": {}, "a": {"const": 'no "'}}}),
    ResponseFormat.regex(r"\d+|off"),
    ResponseFormat.choices(["yes", "no"]),
    ResponseFormat.grammar('start: "a"+'),
    ResponseFormat.grammar('root ::= "a"'),
)
VALUES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("stop", "bad_words", "dry_sequence_breakers"), (("off",), ("5", "\n"), ('["',))),
    **dict.fromkeys(("logit_bias",), ({5: -1.0, 7: float("-inf")},)),
    "stop_regex": (("a|b",), ("[0-9]", "5")),
    "samplers": (("top_k",), ("top_p", "temperature")),
    "early_stopping": (True, "never"),
    "mirostat": (2,),
    "speculative": ("off", "ngram"),
    "context_policy": ("truncate_turns",),
    "adapter": ("on", "5", "none"),
    "negative_prompt": ("none", "5", (1, 2)),
    "sequence_bias": ({(1, 2): 0.5},),
    "watermarking_config": (GreenListSettings(bias=1.0), SynthIDSettings(5, (1, 2))),
    "exponential_decay_length_penalty": ((5, 1.5),),
    "response_format": FORMS,
}


def values_of(name: str) -> tuple[Any, ...]:
    """Return values that are not the option's default, and the default."""
    default = getattr(GenerationConfig(), name)
    if name in VALUES:
        return (*VALUES[name], default)
    if isinstance(default, bool) or name == "do_sample":
        return (True, False)
    if default is None or isinstance(default, (int, float)):
        return next(
            (value, default) for value in (3, 0.3, True, (3, 5)) if value != default and accepts(name, value)
        )
    return ((3, 5), default)


def accepts(name: str, value: Any) -> bool:
    try:
        OPTIONS[name].check(name, value)
    except OptionError:
        return False
    return True


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_what_is_shown_is_read_back(name: str) -> None:
    check = OPTIONS[name].check
    for value in values_of(name):
        kept = check(name, value)
        assert check(name, parse_value(name, format_value(kept))) == kept


def test_any_option_can_be_set_by_its_name() -> None:
    assignments = ['bad-words=["a", "b"]', "eta_cutoff=0.1", 'logit_bias={"5": -100}', "stop=a=b"]
    options = given_options(GenerationFlags(seed=1), AnyOptionFlags(assignments=assignments))
    assert options == {
        "seed": 1,
        "bad_words": ["a", "b"],
        "eta_cutoff": 0.1,
        "logit_bias": {5: -100},
        "stop": "a=b",
    }


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["eta_cutoff"], "NAME=VALUE"),
        (["eta_cuttof=1"], 'Did you mean "eta_cutoff"'),
        (["eta_cutoff=high"], "eta_cutoff must be a number"),
        (["eta_cutoff=0.1", "eta-cutoff=0.2"], "given twice"),
        (["stopping_criteria=len"], "unknown generation option"),
        (["top_k=1"], "--set top_k says what a flag"),
        (["response_format=json"], "--set response_format says what a flag"),
    ],
)
def test_a_wrong_assignment_is_named(assignments: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        given_options(
            GenerationFlags(top_k=2), FormatFlags(regex="a"), AnyOptionFlags(assignments=assignments)
        )
