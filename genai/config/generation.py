"""Options of a generation, as a frozen value; names and meanings are those of Hugging Face's GenerationConfig."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypedDict, Unpack

from genai.config.checks import AnyOf, Biases, Flag, Integer, Name, Number, Texts, TokenIds
from genai.config.option import option, options_of
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
    adapter: str | None


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
        adapter: Name of the model's low-rank adapter to compute with; `None` is the model alone.

    Raises:
        OptionError: A value is out of its range, or two options exclude each other.

    >>> GenerationConfig(temperature=-1)
    Traceback (most recent call last):
    genai.errors.OptionError: temperature must be a number >= 0, not -1
    >>> GenerationConfig().merge(temperature=0.5).do_sample
    True
    """

    max_new_tokens: int | None = option(
        1024, Integer(1, or_none=True), transformers="=", vllm="max_tokens", llama_cpp="n_predict"
    )
    min_new_tokens: int = option(0, Integer(0), transformers="=", vllm="min_tokens")
    do_sample: bool | None = option(None, Flag(or_none=True), transformers="=", without=("beams",))
    temperature: float = option(
        1.0, Number(0), transformers="=", vllm="=", llama_cpp="=", without=("greedy", "beams")
    )
    top_k: int = option(
        50, Integer(0), transformers="=", vllm="=", llama_cpp="=", without=("greedy", "beams")
    )
    top_p: float = option(
        1.0,
        Number(0, 1, is_open=True),
        transformers="=",
        vllm="=",
        llama_cpp="=",
        without=("greedy", "beams"),
    )
    min_p: float = option(
        0.0, Number(0, 1), transformers="=", vllm="=", llama_cpp="=", without=("greedy", "beams")
    )
    typical_p: float = option(
        1.0, Number(0, 1, is_open=True), transformers="=", llama_cpp="=", without=("greedy", "beams")
    )
    repetition_penalty: float = option(
        1.0, Number(0, is_open=True), transformers="=", vllm="=", llama_cpp="repeat_penalty"
    )
    presence_penalty: float = option(0.0, Number(), vllm="=", llama_cpp="=")
    frequency_penalty: float = option(0.0, Number(), vllm="=", llama_cpp="=")
    no_repeat_ngram_size: int = option(0, Integer(0), transformers="=")
    bad_words: tuple[str, ...] = option((), Texts(), transformers="bad_words_ids", vllm="=")
    logit_bias: Mapping[int, float] = option(
        {}, Biases(), transformers="sequence_bias", vllm="=", llama_cpp="="
    )
    suppress_tokens: tuple[int, ...] = option((), TokenIds(), transformers="=")
    num_beams: int = option(1, Integer(1), transformers="=", without=("greedy", "sampling"))
    num_return_sequences: int = option(
        1, Integer(1), transformers="=", vllm="n", llama_cpp="n", without=("greedy",)
    )
    length_penalty: float = option(1.0, Number(), transformers="=", without=("greedy", "sampling"))
    early_stopping: bool | Literal["never"] = option(
        False, AnyOf((True, False, "never")), transformers="=", without=("greedy", "sampling")
    )
    stop: tuple[str, ...] = option((), Texts(), transformers="stop_strings", vllm="=", llama_cpp="=")
    stop_token_ids: tuple[int, ...] = option((), TokenIds(), transformers="eos_token_id", vllm="=")
    eos_token_ids: tuple[int, ...] | None = option(None, TokenIds(or_none=True), transformers="eos_token_id")
    ignore_eos: bool = option(False, Flag(), vllm="=", llama_cpp="=")
    logprobs: bool = option(False, Flag(), vllm="=", without=("beams",))
    top_logprobs: int = option(
        0, Integer(0, MAX_TOP_LOGPROBS), vllm="logprobs", llama_cpp="n_probs", without=("beams",)
    )
    seed: int | None = option(None, Integer(0, 2**64 - 1, or_none=True), vllm="=", llama_cpp="=")
    adapter: str | None = option(None, Name(), vllm="lora_request", llama_cpp="lora")

    def __post_init__(self) -> None:
        for name, known in _OPTIONS.items():
            object.__setattr__(self, name, known.check(name, getattr(self, name)))
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


_OPTIONS = options_of(GenerationConfig)
