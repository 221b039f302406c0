"""Which options of a generation do not go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from genai.config.option import Option, Search
from genai.config.samplers import NEUTRAL_FILTERS, SAMPLERS
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.config.generation import GenerationConfig

__all__ = ["check_combinations", "check_search"]

_SEARCHES: Mapping[Search, str] = {
    "greedy": "greedy search (do_sample=False)",
    "sampling": "sampling (num_beams=1)",
    "beams": "a search with beams (num_beams > 1)",
}


def check_combinations(
    config: GenerationConfig, options: Mapping[str, Option], defaults: Mapping[str, Any]
) -> None:
    """See that options go together whose values are possible each by itself.

    Raises:
        OptionError: Two exclude each other, or one means nothing without another.
    """
    _check_needs(config, options, defaults)
    _check_searches(config)
    _check_filters(config, defaults)
    _check_speculation(config)
    _check_context(config, defaults)
    if config.response_format is not None and config.ignore_eos:
        raise OptionError(
            "ignore_eos cannot be combined with response_format, whose text ends with an end-of-sequence token: "
            "set ignore_eos=False",
            option="ignore_eos",
        )
    if config.exponential_decay_length_penalty is not None and config.ignore_eos:
        raise OptionError(
            "exponential_decay_length_penalty makes the end likelier, which ignore_eos goes past: leave one of them out",
            option="exponential_decay_length_penalty",
        )
    if config.max_new_tokens is not None and config.min_new_tokens > config.max_new_tokens:
        raise OptionError(
            f"min_new_tokens ({config.min_new_tokens}) must not exceed max_new_tokens ({config.max_new_tokens})",
            option="min_new_tokens",
        )


def check_search(config: GenerationConfig, given: Mapping[str, Option]) -> None:
    """See that what is asked for by name means something in the search that the options lead to.

    A model's defaults may be for another search. Sampling at temperature 0 is the limit of sampling, not another search:
    what filters leave then has the same best token.

    Raises:
        OptionError: An option would be ignored.
    """
    search: Search = "beams" if config.num_beams > 1 else "sampling" if config.do_sample else "greedy"
    for name, known in given.items():
        if search in known.without and name != "do_sample":  # which says itself which search it is
            raise OptionError(
                f"{name} means nothing in {_SEARCHES[search]}: leave {name} out, or search otherwise",
                option=name,
            )


def _check_needs(
    config: GenerationConfig, options: Mapping[str, Option], defaults: Mapping[str, Any]
) -> None:
    """See that nothing is set which only says how another option works that is off."""
    is_set = {name: getattr(config, name) != defaults[name] for name in options}
    for name, known in options.items():
        if is_set[name] and known.needs and not any(is_set[needed] for needed in known.needs):
            needed = " or ".join(known.needs)
            raise OptionError(
                f"{name} means nothing without {needed}: set it too, or leave {name} out", option=name
            )


def _check_searches(config: GenerationConfig) -> None:
    if config.num_beams > 1 and config.is_sampling:
        raise OptionError(
            "num_beams > 1 cannot be combined with sampling (do_sample, temperature, top_k, top_p, ...): "
            "set do_sample=False or num_beams=1",
            option="num_beams",
        )
    if config.num_beams > 1 and config.guidance_scale != 1:
        raise OptionError(
            "guidance_scale cannot be combined with num_beams > 1: set num_beams=1", option="guidance_scale"
        )
    if config.num_beams > 1 and config.num_return_sequences > config.num_beams:
        raise OptionError(
            f"num_return_sequences must be at most num_beams, not {config.num_return_sequences} > {config.num_beams}",
            option="num_return_sequences",
        )
    if config.num_beams % config.num_beam_groups:
        raise OptionError(
            f"num_beams ({config.num_beams}) must be a multiple of num_beam_groups ({config.num_beam_groups})",
            option="num_beam_groups",
        )
    if config.num_beam_groups > 1 and not config.diversity_penalty:
        raise OptionError(
            "num_beam_groups > 1 needs a diversity_penalty above 0: without one all groups find the same",
            option="num_beam_groups",
        )
    if config.best_of is not None and not config.is_sampling:
        raise OptionError(
            "best_of chooses among sequences that were drawn: set do_sample=True or a temperature, and num_beams=1",
            option="best_of",
        )
    if config.best_of is not None and config.best_of < config.num_return_sequences:
        raise OptionError(
            f"best_of ({config.best_of}) must be at least num_return_sequences ({config.num_return_sequences})",
            option="best_of",
        )
    if config.num_return_sequences > 1 and config.num_beams == 1 and not config.is_sampling:
        raise OptionError(
            "num_return_sequences > 1 needs sampling or num_beams > 1: greedy search finds only one sequence",
            option="num_return_sequences",
        )


def _check_speculation(config: GenerationConfig) -> None:
    takes_none = None
    if config.num_beams > 1:
        takes_none = "num_beams > 1"
    elif config.guidance_scale != 1:
        takes_none = "guidance_scale"
    if takes_none is not None and config.speculative in ("ngram", "draft"):
        raise OptionError(
            f'speculative="{config.speculative}" cannot be combined with {takes_none}, which looks at more than one next '
            "token or prompt at a time: leave one of them out",
            option="speculative",
        )
    if config.speculative == "off":
        takes_none = 'speculative="off"'
    if config.num_draft_tokens is not None and takes_none is not None:
        raise OptionError(
            f"num_draft_tokens cannot be combined with {takes_none}, where no tokens are guessed: leave one of them out",
            option="num_draft_tokens",
        )


def _check_context(config: GenerationConfig, defaults: Mapping[str, Any]) -> None:
    if config.context_policy == "shift":
        if config.num_beams > 1:
            raise OptionError(
                'context_policy="shift" cannot be combined with num_beams > 1: beams are copied from each other by what they '
                "have in common, of which a shift drops a part; leave one of them out",
                option="context_policy",
            )
    elif config.num_sink_tokens != defaults["num_sink_tokens"]:
        raise OptionError(
            f'num_sink_tokens says what context_policy="shift" keeps, not "{config.context_policy}": leave it out',
            option="num_sink_tokens",
        )


def _check_filters(config: GenerationConfig, defaults: Mapping[str, Any]) -> None:
    filters = list(_set_filters(config))
    if config.mirostat:
        for name, _ in filters:
            raise OptionError(
                f"mirostat chooses by itself how many tokens are left to draw from, so it cannot be combined with "
                f"{name}: leave one of them out, or set {name}={NEUTRAL_FILTERS[name]:g}",
                option=name,
            )
        if config.watermarking_config is not None:
            raise OptionError(
                "mirostat measures the surprise of the model's own distribution, which watermarking_config changes: "
                "leave one of them out",
                option="mirostat",
            )
        if config.samplers:
            raise OptionError(
                "mirostat follows the temperature and nothing else: leave samplers out", option="samplers"
            )
    if config.samplers:
        if config.temperature != 1 or config.dynatemp_range:
            filters.append(("temperature", "temperature"))
        for name, step in filters:
            if step not in config.samplers and getattr(config, name) != defaults[name]:
                raise OptionError(
                    f'{name} is set, but samplers leaves it out: add "{step}" to samplers, or leave {name} out',
                    option=name,
                )


def _set_filters(config: GenerationConfig) -> Iterator[tuple[str, str]]:
    """Yield the filters that are not neutral: the option, and its name among the samplers."""
    for name, neutral in NEUTRAL_FILTERS.items():
        if getattr(config, name) != neutral:
            yield name, name if name in SAMPLERS else "xtc"
