"""Options of a generation, as a frozen value; names and meanings are those of Hugging Face's GenerationConfig."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, Unpack

from genai.config.checks import (
    AnyOf,
    Biases,
    Decay,
    Flag,
    Functions,
    Integer,
    LastTokens,
    Name,
    Number,
    Prompt,
    SequenceBiases,
    Texts,
    TokenIds,
    Words,
)
from genai.config.combinations import check_combinations, check_search
from genai.config.generation_options import GenerationOptions, LogitsFunction, StoppingCriterion
from genai.config.option import did_you_mean_option, option, options_of
from genai.config.patterns import Patterns
from genai.config.response_format import FormatCheck, ResponseFormat
from genai.config.samplers import NEUTRAL_FILTERS, SamplerOrder
from genai.config.watermark import Watermarking, WatermarkSettings
from genai.errors import OptionError

__all__ = ["CODE_OPTIONS", "LEAST_TEMPERATURE", "GenerationConfig"]

LEAST_TEMPERATURE = 1e-5
"""The least by which logits are divided: below it a draw has nothing to choose."""

SAMPLING_OPTIONS = frozenset({"temperature", "dynatemp_range", "mirostat", *NEUTRAL_FILTERS})
"""Options that imply `do_sample` when a caller sets them."""

MAX_TOP_LOGPROBS = 20
MAX_DRAFT_TOKENS = 15

CODE_OPTIONS = ("logits_processors", "stopping_criteria")
"""Options that no file can hold."""


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Options of one generation; every field has Hugging Face's name and meaning.

    Args:
        max_new_tokens: Most tokens to generate; `None` goes on until the context is full.
        min_new_tokens: End-of-sequence tokens and `stop_token_ids` are forbidden before this many tokens; `stop` is not.
        do_sample: Draw from the distribution; otherwise take the most likely token. `None` becomes True if a sampling
            option (temperature, dynatemp_range, mirostat, or a filter such as top_p) is set, else False.
        temperature: Divides the logits; 0 means greedy.
        top_k: Keep the k most likely tokens; 0 keeps all.
        top_p: Keep the smallest set of tokens whose probability reaches this (Holtzman et al., 2019).
        min_p: Keep tokens at least this likely relative to the most likely one (Nguyen et al., 2024).
        typical_p: Keep the locally typical tokens up to this mass (Meister et al., 2022).
        epsilon_cutoff: Keep tokens of at least this probability (Hewitt et al., 2022); 0 is off.
        eta_cutoff: As epsilon_cutoff, and lower where the distribution is flat (Hewitt et al., 2022); 0 is off.
        top_n_sigma: Keep tokens whose logit is at most so many standard deviations below the greatest (Tang et al.,
            2024); 0 is off.
        xtc_probability: How often the most likely tokens are left out, all but the least likely of those that reach
            xtc_threshold (llama.cpp's XTC); 0 is off.
        xtc_threshold: The probability that makes a token one of the most likely ones.
        dynatemp_range: The temperature is this much lower where the model is certain, and higher where it is not
            (llama.cpp's dynamic temperature); 0 is off.
        dynatemp_exponent: Above 1 the temperature grows late with the entropy, below 1 early.
        mirostat: 2 keeps the surprise of what is drawn near a target, in place of all filters (Basu et al., 2021);
            0 is off.
        mirostat_tau: The target, in bits.
        mirostat_eta: How fast its limit follows what was drawn.
        samplers: The order in which temperature and filters apply, by name; those that are not named do not apply.
            None are the order of the table.
        repetition_penalty: Divides (multiplies, if negative) logits of tokens seen before (Keskar et al., 2019).
        encoder_repetition_penalty: Above 1 the tokens of the prompt become likelier, by the inverse of a repetition
            penalty on them.
        presence_penalty: Subtracted once from the logits of tokens generated before (OpenAI's definition).
        frequency_penalty: Subtracted per earlier occurrence among the generated tokens (OpenAI's definition).
        repetition_last_n: How many of the latest tokens these penalties look at; `None` (or -1) is all, 0 none. Presence
            and frequency count those of them that were generated.
        dry_multiplier: The penalty on a token that would carry on a repetition of earlier tokens (DRY, as llama.cpp
            has it); 0 is off.
        dry_base: What every repeated token more than are allowed multiplies that penalty by.
        dry_allowed_length: How many tokens may be repeated without one.
        dry_penalty_last_n: At how many of the latest tokens DRY looks; `None` (or -1) is all.
        dry_sequence_breakers: Texts that no repetition reaches across.
        exponential_decay_length_penalty: (start, factor): after so many tokens the end becomes likelier with each, by
            the factor's powers.
        no_repeat_ngram_size: Forbid n-grams of this size to occur twice; 0 is off.
        bad_words: Texts, or sequences of token ids, that must not be generated.
        logit_bias: Added to the logits, by token id.
        sequence_bias: Added to the logit of the last token of a sequence, where the others are the latest tokens.
        suppress_tokens: Token ids that are never generated.
        begin_suppress_tokens: Token ids that are not generated first.
        forced_bos_token_id: The first token that is generated. (Transformers forces it only where the prompt is a
            single token.)
        forced_eos_token_id: What the last token that max_new_tokens, or the context, has room for must be one of.
        watermarking_config: Settings of a watermark by name: those of `GreenListSettings` (Kirchenbauer et al., 2023) or of
            `SynthIDSettings` (Dathathri et al., 2024).
        guidance_scale: How far to follow the prompt: log-probabilities go this many times as far from those without it
            as the prompt alone moves them (Sanchez et al., 2023). Every sequence then runs twice.
        negative_prompt: What takes the prompt's place there, a text or token ids; `None` is the prompt's last token.
        num_beams: Beam search over this many sequences; 1 is off.
        num_beam_groups: In how many groups the beams search, each of which avoids what those before it have chosen
            (Vijayakumar et al., 2016).
        diversity_penalty: Subtracted from a token's score for every beam of an earlier group that chose it at the same
            step.
        num_return_sequences: How many sequences to return per prompt.
        best_of: Draw this many sequences, and return the likeliest per token; `None` returns all that are drawn.
        length_penalty: Exponent on the length that a beam's score is divided by.
        early_stopping: When beam search stops: True at num_beams candidates, False by a heuristic,
            "never" only when no better candidate is possible.
        renormalize_logits: Whether beams are scored by probabilities that add up to 1 again after penalties and bans.
        stop: Texts that end the generation; they are not part of the result.
        stop_regex: Regular expressions whose match ends the generation; it is not part of the result.
        stop_token_ids: Token ids that end the generation, beside the end-of-sequence ids.
        eos_token_ids: End-of-sequence ids; `None` takes the model's.
        ignore_eos: Go on past end-of-sequence tokens.
        max_time: Seconds from the submission after which the generation ends with what there is.
        stopping_criteria: Functions of the tokens so far (int64 array, prompt included), called after each token; a true
            value ends the sequence.
        logits_processors: Functions of the tokens so far and the logits (float32 [vocab]) that return other logits,
            called before each draw, after all options that change logits.
        max_reasoning_tokens: In a conversation, most tokens that a model thinks before its answer: then the token that ends
            the reasoning is forced. `None` is no limit.
        logprobs: Return the log-probability of each generated token.
        top_logprobs: Return this many most likely alternatives per token too; implies logprobs.
        prompt_logprobs: Return the log-probability of each token of the prompt after the first, with so many most likely
            alternatives; `None` is off. No part of the prompt is then taken from the cache.
        echo: Whether the result's text begins with the prompt's.
        seed: Seed of the random stream; `None` draws a fresh one.
        context_policy: What becomes of what is too long for the context: "stop" refuses a prompt and ends a generation,
            "truncate_turns" leaves out a conversation's oldest turns, but not what stands before the first (a system prompt),
            "shift" lets a generation go on, each time the context is full without the older half of it (Xiao et al., 2023).
        num_sink_tokens: How many tokens at the beginning a shift keeps, to which attention goes that goes nowhere else.
        response_format: The form that the text must have, or what stands for one (see `ResponseFormat.of`): no token is
            generated that cannot lead to it, and it ends where it is complete.
        speculative: Who guesses the next tokens, which the model then confirms several at a time (Leviathan et al.,
            2023): "ngram" finds them behind an earlier occurrence of the last ones, "draft" asks the draft model, "auto"
            takes the draft model if there is one, else the occurrences if the model computes in floats; "off" is nobody.
            A guess decides whether a token costs a run of its own, never which it is; but what rounds activations to 8
            bits (int8 and int4 on a CPU) rounds otherwise in a run of several tokens.
        num_draft_tokens: Most tokens that are guessed at a time; `None` is up to 15. Fewer are where more do not pay.
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
    epsilon_cutoff: float = option(
        0.0, Number(0, 1, is_open_above=True), transformers="=", without=("greedy", "beams")
    )
    eta_cutoff: float = option(
        0.0, Number(0, 1, is_open_above=True), transformers="=", without=("greedy", "beams")
    )
    top_n_sigma: float = option(0.0, Number(0), llama_cpp="=", without=("greedy", "beams"))
    xtc_probability: float = option(0.0, Number(0, 1), llama_cpp="=", without=("greedy", "beams"))
    xtc_threshold: float = option(
        0.1, Number(0, 0.5), llama_cpp="=", without=("greedy", "beams"), needs=("xtc_probability",)
    )
    dynatemp_range: float = option(0.0, Number(0), llama_cpp="=", without=("greedy", "beams"))
    dynatemp_exponent: float = option(
        1.0, Number(0, is_open=True), llama_cpp="=", without=("greedy", "beams"), needs=("dynatemp_range",)
    )
    mirostat: int = option(0, AnyOf((0, 2)), llama_cpp="=", without=("greedy", "beams"))
    mirostat_tau: float = option(
        5.0, Number(0, is_open=True), llama_cpp="=", without=("greedy", "beams"), needs=("mirostat",)
    )
    mirostat_eta: float = option(
        0.1, Number(0, is_open=True), llama_cpp="=", without=("greedy", "beams"), needs=("mirostat",)
    )
    samplers: tuple[str, ...] = option((), SamplerOrder(), llama_cpp="=", without=("greedy", "beams"))
    repetition_penalty: float = option(
        1.0, Number(0, is_open=True), transformers="=", vllm="=", llama_cpp="repeat_penalty"
    )
    encoder_repetition_penalty: float = option(1.0, Number(0, is_open=True), transformers="=")
    presence_penalty: float = option(0.0, Number(), vllm="=", llama_cpp="=")
    frequency_penalty: float = option(0.0, Number(), vllm="=", llama_cpp="=")
    repetition_last_n: int | None = option(
        None,
        LastTokens(),
        llama_cpp="repeat_last_n",
        needs=("repetition_penalty", "presence_penalty", "frequency_penalty"),
    )
    dry_multiplier: float = option(0.0, Number(0), llama_cpp="=")
    dry_base: float = option(1.75, Number(1), llama_cpp="=", needs=("dry_multiplier",))
    dry_allowed_length: int = option(2, Integer(1), llama_cpp="=", needs=("dry_multiplier",))
    dry_penalty_last_n: int | None = option(None, LastTokens(), llama_cpp="=", needs=("dry_multiplier",))
    dry_sequence_breakers: tuple[str, ...] = option(
        ("\n", ":", '"', "*"), Texts(most=64, longest=64), llama_cpp="=", needs=("dry_multiplier",)
    )
    exponential_decay_length_penalty: tuple[int, float] | None = option(None, Decay(), transformers="=")
    no_repeat_ngram_size: int = option(0, Integer(0), transformers="=")
    bad_words: tuple[str | tuple[int, ...], ...] = option((), Words(), transformers="bad_words_ids", vllm="=")
    logit_bias: Mapping[int, float] = option(
        {}, Biases(), transformers="sequence_bias", vllm="=", llama_cpp="="
    )
    sequence_bias: Mapping[tuple[int, ...], float] = option({}, SequenceBiases(), transformers="=")
    suppress_tokens: tuple[int, ...] = option((), TokenIds(), transformers="=")
    begin_suppress_tokens: tuple[int, ...] = option((), TokenIds(), transformers="=")
    forced_bos_token_id: int | None = option(None, Integer(0, or_none=True), transformers="=")
    forced_eos_token_id: tuple[int, ...] = option((), TokenIds(), transformers="=")
    watermarking_config: WatermarkSettings | None = option(None, Watermarking(), transformers="=")
    guidance_scale: float = option(1.0, Number(0, is_open=True), transformers="=", without=("beams",))
    negative_prompt: str | tuple[int, ...] | None = option(
        None, Prompt(), transformers="negative_prompt_ids", without=("beams",), needs=("guidance_scale",)
    )
    num_beams: int = option(1, Integer(1), transformers="=", without=("greedy", "sampling"))
    num_beam_groups: int = option(
        1, Integer(1), transformers="=", without=("greedy", "sampling"), needs=("num_beams",)
    )
    diversity_penalty: float = option(
        0.0, Number(0), transformers="=", without=("greedy", "sampling"), needs=("num_beam_groups",)
    )
    num_return_sequences: int = option(
        1, Integer(1), transformers="=", vllm="n", llama_cpp="n", without=("greedy",)
    )
    best_of: int | None = option(None, Integer(1, or_none=True), vllm="=", without=("greedy", "beams"))
    length_penalty: float = option(1.0, Number(), transformers="=", without=("greedy", "sampling"))
    early_stopping: bool | Literal["never"] = option(
        False, AnyOf((True, False, "never")), transformers="=", without=("greedy", "sampling")
    )
    renormalize_logits: bool = option(False, Flag(), transformers="=", without=("greedy", "sampling"))
    stop: tuple[str, ...] = option((), Texts(), transformers="stop_strings", vllm="=", llama_cpp="=")
    stop_regex: tuple[str, ...] = option((), Patterns())
    stop_token_ids: tuple[int, ...] = option((), TokenIds(), transformers="eos_token_id", vllm="=")
    eos_token_ids: tuple[int, ...] | None = option(None, TokenIds(or_none=True), transformers="eos_token_id")
    ignore_eos: bool = option(False, Flag(), vllm="=", llama_cpp="=")
    max_time: float | None = option(None, Number(0, is_open=True, or_none=True), transformers="=")
    stopping_criteria: tuple[StoppingCriterion, ...] = option((), Functions())
    logits_processors: tuple[LogitsFunction, ...] = option((), Functions())
    max_reasoning_tokens: int | None = option(None, Integer(0, or_none=True))
    logprobs: bool = option(False, Flag(), vllm="=")
    top_logprobs: int = option(0, Integer(0, MAX_TOP_LOGPROBS), vllm="logprobs", llama_cpp="n_probs")
    prompt_logprobs: int | None = option(None, Integer(0, MAX_TOP_LOGPROBS, or_none=True), vllm="=")
    echo: bool = option(False, Flag())
    seed: int | None = option(None, Integer(0, 2**64 - 1, or_none=True), vllm="=", llama_cpp="=")
    context_policy: Literal["stop", "truncate_turns", "shift"] = option(
        "stop", AnyOf(("stop", "truncate_turns", "shift"))
    )
    num_sink_tokens: int = option(
        4, Integer(0), llama_cpp="n_keep", without=("beams",), needs=("context_policy",)
    )
    response_format: ResponseFormat | None = option(
        None, FormatCheck(), vllm="structured_outputs", llama_cpp="json_schema"
    )
    speculative: Literal["auto", "off", "ngram", "draft"] = option(
        "auto", AnyOf(("auto", "off", "ngram", "draft"))
    )
    num_draft_tokens: int | None = option(
        None,
        Integer(1, MAX_DRAFT_TOKENS, or_none=True),
        transformers="num_assistant_tokens",
        llama_cpp="speculative.n_max",
        without=("beams",),
    )
    adapter: str | None = option(None, Name(), vllm="lora_request", llama_cpp="lora")

    def __post_init__(self) -> None:
        for name, known in _OPTIONS.items():
            try:
                object.__setattr__(self, name, known.check(name, getattr(self, name)))
            except OptionError as error:
                error.option = name
                raise
        if self.do_sample is None:
            is_set = any(getattr(self, name) != _DEFAULTS[name] for name in SAMPLING_OPTIONS)
            object.__setattr__(self, "do_sample", is_set)
        if self.top_logprobs:
            object.__setattr__(self, "logprobs", True)
        if self.mirostat and self.top_k == _DEFAULTS["top_k"]:
            object.__setattr__(self, "top_k", 0)
        check_combinations(self, _OPTIONS, _DEFAULTS)

    @property
    def is_sampling(self) -> bool:
        """Whether tokens are drawn: `do_sample`, and a temperature that is not as good as 0."""
        return bool(self.do_sample) and self.temperature >= LEAST_TEMPERATURE

    def merge(self, **options: Unpack[GenerationOptions]) -> Self:
        """Return a copy with these options changed.

        Unless do_sample is among the options, a sampling option (temperature, a filter such as top_p, ...) implies it,
        and num_beams > 1 turns it off. Mirostat switches the filters off that are not among the options.

        Raises:
            OptionError: An option is unknown or its value impossible.
        """
        changed: dict[str, Any] = {**options}
        for name in changed:
            if name not in _OPTIONS:
                hint = did_you_mean_option(name, _OPTIONS)
                raise OptionError(f'unknown generation option "{name}".{hint}', option=name)
        if changed.keys() & SAMPLING_OPTIONS:
            changed.setdefault("do_sample", True)
        elif changed.get("num_beams") not in (None, 1):
            changed.setdefault("do_sample", False)
        if changed.get("mirostat"):
            changed = {**NEUTRAL_FILTERS, **changed}
        merged = dataclasses.replace(self, **changed)
        check_search(merged, {name: _OPTIONS[name] for name in options if changed[name] != _DEFAULTS[name]})
        return merged

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read Hugging Face's generation_config.json; keys that genai has no use for are passed over.

        Raises:
            OptionError: A value is impossible.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        options = {k: v for k, v in values.items() if k in known and v is not None}
        for name in CODE_OPTIONS:
            options.pop(name, None)
        options.pop("forced_bos_token_id", None)  # there it means something after a prompt of one token only
        options.setdefault("do_sample", False)  # a file may set temperature and still mean greedy decoding
        if options.get("num_beams") not in (None, 1):
            options["do_sample"] = False
        if values.get("stop_strings") is not None:
            options["stop"] = values["stop_strings"]
        if values.get("bad_words_ids") is not None:
            options["bad_words"] = values["bad_words_ids"]
        eos = values.get("eos_token_id")
        if eos is not None:
            options["eos_token_ids"] = tuple(eos) if isinstance(eos, Sequence) else (eos,)
        return cls(**options)


_OPTIONS = options_of(GenerationConfig)
_DEFAULTS = {
    f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
    for f in dataclasses.fields(GenerationConfig)
}
