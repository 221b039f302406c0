"""The options of a generation that commands share, each defined once: how to draw, what ends it, and in which form."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from genai.cli.option_values import option_name, parse_value
from genai.config import GenerationConfig
from genai.errors import OptionError

__all__ = [
    "AnyOptionFlags",
    "FormatFlags",
    "GenerationFlags",
    "LogprobFlags",
    "SequenceFlags",
    "check_logprobs",
    "given_options",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFlags:
    """How to generate; every field is one of `GenerationConfig`, and None leaves the model's default."""

    max_new_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate.")] = None
    min_new_tokens: Annotated[int | None, typer.Option(help="No end of text before this many tokens.")] = None
    do_sample: Annotated[
        bool | None, typer.Option("--do-sample/--greedy", help="Draw tokens, or take the most likely.")
    ] = None
    temperature: Annotated[float | None, typer.Option(help="Divides the logits; 0 is greedy.")] = None
    top_k: Annotated[int | None, typer.Option(help="Keep the k most likely tokens; 0 keeps all.")] = None
    top_p: Annotated[float | None, typer.Option(help="Keep the smallest set with this probability.")] = None
    min_p: Annotated[
        float | None, typer.Option(help="Keep tokens this likely relative to the most likely one.")
    ] = None
    typical_p: Annotated[float | None, typer.Option(help="Keep locally typical tokens up to this mass.")] = (
        None
    )
    top_n_sigma: Annotated[
        float | None, typer.Option(help="Keep logits this many deviations below the greatest; 0 is off.")
    ] = None
    xtc_probability: Annotated[
        float | None, typer.Option(help="How often XTC leaves out the most likely tokens; 0 is off.")
    ] = None
    xtc_threshold: Annotated[
        float | None, typer.Option(help="Probability that makes a token one of the most likely, for XTC.")
    ] = None
    dynatemp_range: Annotated[
        float | None, typer.Option(help="Let the temperature follow the entropy, up and down by this much.")
    ] = None
    mirostat: Annotated[
        int | None, typer.Option(help="2 keeps the surprise of tokens near a target; 0 is off.")
    ] = None
    mirostat_tau: Annotated[float | None, typer.Option(help="Mirostat's target, in bits.")] = None
    mirostat_eta: Annotated[float | None, typer.Option(help="How fast mirostat corrects itself.")] = None
    samplers: Annotated[
        list[str] | None,
        typer.Option(
            "--sampler",
            metavar="NAME",
            help="A step of the draw, in order (temperature, top_k, ...); repeat it.",
        ),
    ] = None
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Penalty on tokens that occurred; 1 is none.")
    ] = None
    presence_penalty: Annotated[
        float | None, typer.Option(help="Subtracted once from generated tokens' logits.")
    ] = None
    frequency_penalty: Annotated[
        float | None, typer.Option(help="Subtracted per occurrence of a generated token.")
    ] = None
    repetition_last_n: Annotated[
        int | None, typer.Option(help="Tokens that the penalties look back at; 0 is none, -1 all.")
    ] = None
    dry_multiplier: Annotated[
        float | None, typer.Option(help="DRY penalty on carrying on a repetition; 0 is off.")
    ] = None
    dry_base: Annotated[
        float | None, typer.Option(help="What each further repeated token multiplies the DRY penalty by.")
    ] = None
    dry_allowed_length: Annotated[
        int | None, typer.Option(help="Tokens that may be repeated without a DRY penalty.")
    ] = None
    dry_penalty_last_n: Annotated[
        int | None, typer.Option(help="Tokens that DRY looks back at; -1 is all.")
    ] = None
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="No n-gram of this size occurs twice; 0 is off.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the random stream.")] = None
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Text that ends generation; may be repeated.")
    ] = None
    stop_regex: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Regular expression that ends generation; may be repeated."),
    ] = None
    stop_token_ids: Annotated[
        list[int] | None,
        typer.Option("--stop-token-id", metavar="ID", help="Token that ends generation; may be repeated."),
    ] = None
    ignore_eos: Annotated[
        bool | None, typer.Option("--ignore-eos", help="Go on past end-of-text tokens.")
    ] = None
    speculative: Annotated[
        str | None,
        typer.Option(metavar="WHO", help="Who guesses tokens ahead: auto, off, ngram or draft (--draft)."),
    ] = None
    num_draft_tokens: Annotated[int | None, typer.Option(help="Most tokens that are guessed at a time.")] = (
        None
    )
    max_time: Annotated[float | None, typer.Option(help="Seconds after which generation ends.")] = None
    guidance_scale: Annotated[
        float | None, typer.Option(help="How far to follow the prompt; 1 is as the model does.")
    ] = None
    negative_prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What guidance leads away from.")
    ] = None
    max_reasoning_tokens: Annotated[
        int | None, typer.Option(help="Most tokens to think before an answer; a conversation's.")
    ] = None
    num_beams: Annotated[int | None, typer.Option(help="Beam search over this many; 1 is off.")] = None
    num_beam_groups: Annotated[
        int | None, typer.Option(help="Search in this many groups of beams that avoid each other's tokens.")
    ] = None
    diversity_penalty: Annotated[
        float | None, typer.Option(help="How much a group avoids what those before it have chosen.")
    ] = None
    length_penalty: Annotated[
        float | None, typer.Option(help="Exponent on the length that a beam's score is divided by.")
    ] = None
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Low-rank adapter of the model to compute with.")
    ] = None
    context_policy: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="Where the context is full: stop ends, truncate_turns leaves out a conversation's oldest turns, shift goes on "
            "without the older half.",
        ),
    ] = None
    num_sink_tokens: Annotated[
        int | None, typer.Option(help="How many tokens at the beginning a shift keeps.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceFlags:
    """What makes sense for one prompt, but not in a conversation."""

    num_return_sequences: Annotated[int | None, typer.Option(help="How many continuations to return.")] = None
    best_of: Annotated[
        int | None, typer.Option(help="Draw this many continuations, and return the likeliest.")
    ] = None
    prompt_logprobs: Annotated[
        int | None,
        typer.Option(
            help="Return each prompt token's log-probability, with so many alternatives (with --json)."
        ),
    ] = None
    echo: Annotated[bool | None, typer.Option("--echo", help="Begin the text with the prompt.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobFlags:
    """Whether tokens come with their probabilities, which only JSON shows."""

    logprobs: Annotated[
        bool | None, typer.Option("--logprobs", help="Return each token's log-probability (with --json).")
    ] = None
    top_logprobs: Annotated[
        int | None, typer.Option(help="Return this many alternatives per token too (with --json).")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatFlags:
    """What form the answer must have: at most one of these, each a way to say `response_format`."""

    schema: Annotated[
        str | None, typer.Option(metavar="FILE|JSON", help="JSON schema that the answer must fit.")
    ] = None
    regex: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Regex that the whole answer must match.")
    ] = None
    choices: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B", help="Texts of which the answer is one; repeat it where texts have commas."
        ),
    ] = None
    grammar: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lark or GBNF grammar of the answer.")
    ] = None

    @property
    def options(self) -> dict[str, Any]:
        """The same, as a generation takes it.

        Raises:
            OptionError: There are several, or a file cannot be read.

        >>> FormatFlags(choices=["yes, no"]).options
        {'response_format': {'type': 'choices', 'choices': ['yes', 'no']}}
        """
        fields = [field.name for field in dataclasses.fields(self)]
        given = [name for name in fields if getattr(self, name) not in (None, [])]
        if len(given) > 1:
            raise OptionError(f"--{given[0]} and --{given[1]} exclude each other: an answer has one form")
        return {"response_format": self._value(given[0])} if given else {}

    def _value(self, name: str) -> dict[str, Any]:
        from genai.text import read_utf8

        if self.schema is not None:
            return {"type": "json_schema", "json_schema": {"schema": _read_schema(self.schema)}}
        if self.grammar is not None:
            try:
                return {"type": "grammar", "grammar": read_utf8(self.grammar)}
            except OptionError as error:
                raise OptionError(f"--grammar takes a file: {error}") from error
        if self.choices:
            texts = self.choices
            if len(texts) == 1:
                texts = [text.strip() for text in texts[0].split(",")]
            return {"type": "choices", "choices": texts}
        return {"type": name, name: self.regex}


def _read_schema(text: str) -> Any:
    from genai.text import read_utf8

    is_inline = text.lstrip().startswith("{")
    source = text if is_inline else read_utf8(text)
    try:
        return json.loads(source)
    except ValueError as error:
        raise OptionError(f"{'--schema' if is_inline else text} is no JSON: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOptionFlags:
    """Any option of a generation by its name, for those that have no flag of their own."""

    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other generation option, a value of several parts as JSON; may be repeated.",
        ),
    ] = None

    @property
    def options(self) -> dict[str, Any]:
        """The same, as a generation takes it.

        Raises:
            OptionError: There is no such option, or it is given twice.

        >>> AnyOptionFlags(assignments=["bad-words=never", "eta_cutoff = 0.1"]).options
        {'bad_words': 'never', 'eta_cutoff': 0.1}
        """
        options: dict[str, Any] = {}
        for assignment in self.assignments or ():
            typed, sign, value = assignment.partition("=")
            if not sign:
                raise OptionError(f"--set takes NAME=VALUE, such as --set eta_cutoff=0.1, not {assignment!r}")
            name = option_name(typed)
            if name in options:
                raise OptionError(f"--set {name} is given twice; a list is one value, as JSON")
            options[name] = parse_value(name, value.strip())
        return options


def given_options(
    *groups: GenerationFlags | SequenceFlags | LogprobFlags | FormatFlags | AnyOptionFlags,
) -> dict[str, Any]:
    """Return the generation options that the user gave, after checking them as far as possible without a model.

    Raises:
        OptionError: A value is impossible, or an option is given in two ways.

    >>> given_options(GenerationFlags(top_k=4, stop=["."]), AnyOptionFlags(assignments=["seed=1"]))
    {'top_k': 4, 'stop': ['.'], 'seed': 1}
    """
    options: dict[str, Any] = {}
    for group in groups:
        given = group.options if isinstance(group, (FormatFlags, AnyOptionFlags)) else _given(group)
        if twice := options.keys() & given.keys():
            raise OptionError(f"--set {min(twice)} says what a flag of its own says: leave one of them out")
        options |= given
    _check(options)
    return options


def check_logprobs(options: Mapping[str, Any], *, json: bool) -> None:
    """See that log-probabilities are shown, if they are asked for.

    Raises:
        OptionError: They would not be.
    """
    is_wanted = options.get("logprobs") or options.get("top_logprobs")
    if not json and (is_wanted or options.get("prompt_logprobs") is not None):
        raise OptionError("log-probabilities are part of the JSON output: pass --json too")


def _given(group: GenerationFlags | SequenceFlags | LogprobFlags) -> dict[str, Any]:
    values = {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    return {name: value for name, value in values.items() if value is not None and value != []}


def _check(options: dict[str, Any]) -> None:
    """See that some model could take these: its own defaults may sample, and set any limit on length."""
    probe = {"max_new_tokens": None, **options}
    if probe.get("num_beams", 1) == 1:
        probe.setdefault("do_sample", True)
    GenerationConfig().merge(**probe)
