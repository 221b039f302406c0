"""Options of a generation, as a frozen value; names and meanings are those of Hugging Face's GenerationConfig."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypedDict, Unpack

from genai.errors import OptionError, did_you_mean

__all__ = ["GenerationConfig", "GenerationOptions"]

SAMPLING_OPTIONS = frozenset({"temperature", "top_k", "top_p", "min_p", "typical_p"})
"""Options that imply `do_sample` when a caller sets them."""

MAX_TOP_LOGPROBS = 20


class GenerationOptions(TypedDict, total=False):
    """The options of a `GenerationConfig` as keyword arguments, for editors and type checkers.

    A single value may stand for a list of one, as in Hugging Face's API.
    """

    max_new_tokens: int | None
    min_new_tokens: int
    do_sample: bool | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    no_repeat_ngram_size: int
    bad_words: str | Iterable[str]
    logit_bias: Mapping[int, float]
    suppress_tokens: int | Iterable[int]
    num_beams: int
    num_return_sequences: int
    length_penalty: float
    early_stopping: bool | Literal["never"]
    stop: str | Iterable[str]
    stop_token_ids: int | Iterable[int]
    eos_token_ids: int | Iterable[int] | None
    ignore_eos: bool
    logprobs: bool
    top_logprobs: int
    seed: int | None


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Options of one generation; every field has Hugging Face's name and meaning.

    Args:
        max_new_tokens: Most tokens to generate; `None` goes on until the context is full.
        min_new_tokens: End-of-sequence tokens are forbidden before this many tokens.
        do_sample: Draw from the distribution; otherwise take the most likely token. `None` becomes True if a sampling
            option (temperature, top_k, top_p, min_p, typical_p) is set, else False.
        temperature: Divides the logits; 0 means greedy.
        top_k: Keep the k most likely tokens; 0 keeps all.
        top_p: Keep the smallest set of tokens whose probability reaches this (Holtzman et al., 2019).
        min_p: Keep tokens at least this likely relative to the most likely one (Nguyen et al., 2024).
        typical_p: Keep the locally typical tokens up to this mass (Meister et al., 2022).
        repetition_penalty: Divides (multiplies, if negative) logits of tokens seen before (Keskar et al., 2019).
        presence_penalty: Subtracted once from the logits of tokens generated before (OpenAI's definition).
        frequency_penalty: Subtracted per earlier occurrence among the generated tokens (OpenAI's definition).
        no_repeat_ngram_size: Forbid n-grams of this size to occur twice; 0 is off.
        bad_words: Texts that must not be generated.
        logit_bias: Added to the logits, by token id.
        suppress_tokens: Token ids that are never generated.
        num_beams: Beam search over this many sequences; 1 is off.
        num_return_sequences: How many sequences to return per prompt.
        length_penalty: Exponent on the length that a beam's score is divided by.
        early_stopping: When beam search stops: True at num_beams candidates, False by a heuristic,
            "never" only when no better candidate is possible.
        stop: Texts that end the generation; they are not part of the result.
        stop_token_ids: Token ids that end the generation, beside the end-of-sequence ids.
        eos_token_ids: End-of-sequence ids; `None` takes the model's.
        ignore_eos: Go on past end-of-sequence tokens.
        logprobs: Return the log-probability of each generated token.
        top_logprobs: Return this many most likely alternatives per token too; implies logprobs.
        seed: Seed of the random stream; `None` draws a fresh one.

    Raises:
        OptionError: A value is out of its range, or two options exclude each other.

    >>> GenerationConfig(temperature=-1)
    Traceback (most recent call last):
    genai.errors.OptionError: temperature must be a number >= 0, not -1
    >>> GenerationConfig().merge(temperature=0.5).do_sample
    True
    """

    max_new_tokens: int | None = 1024
    min_new_tokens: int = 0
    do_sample: bool | None = None
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    bad_words: tuple[str, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    suppress_tokens: tuple[int, ...] = ()
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    eos_token_ids: tuple[int, ...] | None = None
    ignore_eos: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name in _TUPLE_FIELDS:
            object.__setattr__(self, name, _as_tuple(name, getattr(self, name)))
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))
        if self.do_sample is None:
            defaults = {f.name: f.default for f in dataclasses.fields(self)}
            is_set = any(getattr(self, name) != defaults[name] for name in SAMPLING_OPTIONS)
            object.__setattr__(self, "do_sample", is_set)
        if self.top_logprobs:
            object.__setattr__(self, "logprobs", True)
        if self.num_beams > 1 and self.logprobs:
            raise OptionError("logprobs are not available with beam search: its scores are in `choices`")
        if self.num_beams > 1 and self.is_sampling:
            raise OptionError(
                "num_beams > 1 cannot be combined with sampling (do_sample, temperature, top_k, top_p, ...): "
                "set do_sample=False or num_beams=1"
            )
        if self.num_beams > 1 and self.num_return_sequences > self.num_beams:
            raise OptionError(
                f"num_return_sequences must be at most num_beams, not {self.num_return_sequences} > {self.num_beams}"
            )
        if self.num_return_sequences > 1 and self.num_beams == 1 and not self.is_sampling:
            raise OptionError(
                "num_return_sequences > 1 needs sampling or num_beams > 1: greedy search finds only one sequence"
            )
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            raise OptionError(
                f"min_new_tokens ({self.min_new_tokens}) must not exceed max_new_tokens ({self.max_new_tokens})"
            )

    @property
    def is_sampling(self) -> bool:
        """Whether tokens are drawn: `do_sample`, and a temperature that is not 0."""
        return bool(self.do_sample) and self.temperature > 0

    def merge(self, **options: Unpack[GenerationOptions]) -> Self:
        """Return a copy with these options changed.

        Unless do_sample is among the options, a sampling option (temperature, top_k, top_p, min_p, typical_p) implies
        it, and num_beams > 1 turns it off.

        Raises:
            OptionError: An option is unknown or its value impossible.
        """
        changed: dict[str, Any] = {**options}
        known = {f.name for f in dataclasses.fields(self)}
        for name in changed:
            if name not in known:
                raise OptionError(f'unknown generation option "{name}".{did_you_mean(name, known)}')
        if changed.keys() & SAMPLING_OPTIONS:
            changed.setdefault("do_sample", True)
        elif changed.get("num_beams") not in (None, 1):
            changed.setdefault("do_sample", False)
        return dataclasses.replace(self, **changed)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read Hugging Face's generation_config.json; keys that genai has no use for are passed over.

        Raises:
            OptionError: A value is impossible.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        options = {k: v for k, v in values.items() if k in known and v is not None}
        options.setdefault("do_sample", False)  # a file may set temperature and still mean greedy decoding
        if options.get("num_beams") not in (None, 1):
            options["do_sample"] = False
        if values.get("stop_strings") is not None:
            options["stop"] = values["stop_strings"]
        eos = values.get("eos_token_id")
        if eos is not None:
            options["eos_token_ids"] = tuple(eos) if isinstance(eos, Sequence) else (eos,)
        return cls(**options)


def _check_number(low: float, high: float = math.inf, *, open_low: bool = False) -> Any:
    def check(name: str, value: Any) -> None:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not low <= value <= high or (open_low and value == low):
            bounds = f"{'>' if open_low else '>='} {low:g}" + (f" and <= {high:g}" if high < math.inf else "")
            bounds = "" if low == -math.inf else f" {bounds}"
            raise OptionError(f"{name} must be a number{bounds}, not {value!r}")

    return check


def _check_int(low: int, high: int | None = None, *, optional: bool = False) -> Any:
    def check(name: str, value: Any) -> None:
        if value is None and optional:
            return
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or value < low or (high is not None and value > high):
            bounds = f">= {low}" + (f" and <= {high}" if high is not None else "")
            raise OptionError(
                f"{name} must be an integer {bounds}{' or None' if optional else ''}, not {value!r}"
            )

    return check


def _check_bool(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be True or False, not {value!r}")


def _check_optional_bool(name: str, value: Any) -> None:
    if value is not None:
        _check_bool(name, value)


def _check_early_stopping(name: str, value: Any) -> None:
    if not isinstance(value, bool) and value != "never":  # 1 == True, but is not what beam search looks for
        raise OptionError(f'{name} must be True, False or "never", not {value!r}')


def _check_texts(name: str, value: tuple[Any, ...]) -> None:
    for text in value:
        if not isinstance(text, str) or not text:
            raise OptionError(f"{name} must be non-empty strings, not {text!r}")


def _check_token_ids(name: str, value: tuple[Any, ...] | None) -> None:
    for token_id in value or ():
        if not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0:
            raise OptionError(f"{name} must be token ids (integers >= 0), not {token_id!r}")


def _check_logit_bias(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise OptionError(f"{name} must map token ids to numbers, not {value!r}")
    _check_token_ids(name, tuple(value))
    for bias in value.values():
        if bias != -math.inf:  # which bans a token
            _check_number(-math.inf)(name, bias)


_TUPLE_FIELDS = ("bad_words", "suppress_tokens", "stop", "stop_token_ids", "eos_token_ids")

_CHECKS: dict[str, Any] = {
    "max_new_tokens": _check_int(1, optional=True),
    "min_new_tokens": _check_int(0),
    "do_sample": _check_optional_bool,
    "temperature": _check_number(0),
    "top_k": _check_int(0),
    "top_p": _check_number(0, 1, open_low=True),
    "min_p": _check_number(0, 1),
    "typical_p": _check_number(0, 1, open_low=True),
    "repetition_penalty": _check_number(0, open_low=True),
    "presence_penalty": _check_number(-math.inf),
    "frequency_penalty": _check_number(-math.inf),
    "no_repeat_ngram_size": _check_int(0),
    "bad_words": _check_texts,
    "logit_bias": _check_logit_bias,
    "suppress_tokens": _check_token_ids,
    "num_beams": _check_int(1),
    "num_return_sequences": _check_int(1),
    "length_penalty": _check_number(-math.inf),
    "early_stopping": _check_early_stopping,
    "stop": _check_texts,
    "stop_token_ids": _check_token_ids,
    "eos_token_ids": _check_token_ids,
    "ignore_eos": _check_bool,
    "logprobs": _check_bool,
    "top_logprobs": _check_int(0, MAX_TOP_LOGPROBS),
    "seed": _check_int(0, 2**64 - 1, optional=True),
}


def _as_tuple(name: str, value: Any) -> tuple[Any, ...] | None:
    """Accept a single value where a sequence is meant, as Hugging Face does."""
    if value is None:
        return None if name == "eos_token_ids" else ()
    if isinstance(value, (str, int)):
        return (value,)
    if not isinstance(value, Iterable):
        raise OptionError(f"{name} must be a list, not {value!r}")
    return tuple(value)
