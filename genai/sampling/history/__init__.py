"""The host-side processors of one sequence, with the state that lets each step cost what changes, not what was said.

Each is the incremental form of one function of `processors`: `apply` changes the logits in place, `accept` learns of
a new token, `copy` gives a beam its own state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from genai.config import GenerationConfig, GreenListSettings, WatermarkSettings
from genai.errors import OptionError
from genai.sampling.history.bans import BadWordsBan, BeginSuppression, EosBan, Forcing, NgramBan, Suppression
from genai.sampling.history.dry import DryPenalty
from genai.sampling.history.functions import FunctionProcessor
from genai.sampling.history.green_list import GreenListWatermark
from genai.sampling.history.penalties import (
    CountPenalty,
    LengthDecay,
    LogitBias,
    PromptPenalty,
    RepetitionPenalty,
    SequenceBias,
)
from genai.sampling.history.processor import Constraint, LogitsProcessor
from genai.sampling.history.self_hash import SelfHashWatermark
from genai.sampling.history.synthid import SynthIDWatermark

__all__ = ["Constraint", "LogitsProcessor", "build_history_processors", "make_watermark", "only_penalize"]

_MAX_BIAS = 1e30  # far above any logit, and finite in float32 after penalties and temperature


def build_history_processors(
    config: GenerationConfig,
    *,
    vocab_size: int,
    prompt_token_ids: Sequence[int],
    eos_token_ids: Sequence[int],
    bad_words_ids: Sequence[Sequence[int]] = (),
    dry_breaker_ids: Sequence[Sequence[int]] = (),
    max_new_tokens: int | None = None,
) -> list[LogitsProcessor]:
    """Build the processors that a configuration asks for, in the order of `processors`.

    As in transformers, a bad word that is just an end-of-sequence token is passed over.

    Raises:
        OptionError: A token id is outside the vocabulary, a bad word has no tokens, a bias or penalty is infinite, or there
            are no end-of-sequence tokens for an option that is about them.
    """
    _check(config, vocab_size, eos_token_ids, bad_words_ids)
    return [
        *_penalties(config, vocab_size, prompt_token_ids, dry_breaker_ids),
        *_bans(config, vocab_size, prompt_token_ids, eos_token_ids, bad_words_ids),
        *_at_positions(config, vocab_size, eos_token_ids, max_new_tokens),
        *(
            [FunctionProcessor(config.logits_processors, prompt_token_ids)]
            if config.logits_processors
            else []
        ),
    ]


def only_penalize(processors: Iterable[LogitsProcessor]) -> bool:
    """Whether none of these can forbid a token, so that where one alone is allowed it is chosen whatever they do."""
    return all(isinstance(each, RepetitionPenalty | CountPenalty | PromptPenalty) for each in processors)


def make_watermark(
    settings: WatermarkSettings, prompt_token_ids: Sequence[int], vocab_size: int
) -> LogitsProcessor:
    """Return what marks one sequence."""
    if isinstance(settings, GreenListSettings):
        kind = SelfHashWatermark if settings.seeding_scheme == "selfhash" else GreenListWatermark
        return kind(settings, prompt_token_ids, vocab_size)
    return SynthIDWatermark(settings)


def _penalties(
    config: GenerationConfig,
    vocab_size: int,
    prompt_token_ids: Sequence[int],
    dry_breaker_ids: Sequence[Sequence[int]],
) -> Iterator[LogitsProcessor]:
    last_n = config.repetition_last_n
    if config.logit_bias:
        yield LogitBias(config.logit_bias)
    if config.sequence_bias:
        yield SequenceBias(config.sequence_bias, prompt_token_ids)
    if config.encoder_repetition_penalty != 1:
        yield PromptPenalty(config.encoder_repetition_penalty, prompt_token_ids, vocab_size)
    if config.repetition_penalty != 1 and last_n != 0:
        yield RepetitionPenalty(config.repetition_penalty, prompt_token_ids, vocab_size, last_n)
    if (config.presence_penalty or config.frequency_penalty) and last_n != 0:
        yield CountPenalty(config.presence_penalty, config.frequency_penalty, vocab_size, last_n)
    if config.dry_multiplier and config.dry_penalty_last_n != 0:
        yield DryPenalty(
            multiplier=config.dry_multiplier,
            base=config.dry_base,
            allowed_length=config.dry_allowed_length,
            last_n=config.dry_penalty_last_n,
            breakers=dry_breaker_ids,
            prompt_token_ids=prompt_token_ids,
            vocab_size=vocab_size,
        )


def _bans(
    config: GenerationConfig,
    vocab_size: int,
    prompt_token_ids: Sequence[int],
    eos_token_ids: Sequence[int],
    bad_words_ids: Sequence[Sequence[int]],
) -> Iterator[LogitsProcessor]:
    if config.no_repeat_ngram_size:
        yield NgramBan(config.no_repeat_ngram_size, prompt_token_ids, vocab_size)
    bad_words = [tuple(word) for word in bad_words_ids if len(word) > 1 or word[0] not in eos_token_ids]
    if bad_words:
        yield BadWordsBan(bad_words, prompt_token_ids, vocab_size)
    ends = (*eos_token_ids, *config.stop_token_ids)
    if config.min_new_tokens and ends:
        yield EosBan(config.min_new_tokens, ends, vocab_size)


def _at_positions(
    config: GenerationConfig, vocab_size: int, eos_token_ids: Sequence[int], max_new_tokens: int | None
) -> Iterator[LogitsProcessor]:
    """Yield what counts positions, and suppression, which transformers has among them."""
    forced = config.forced_bos_token_id
    if forced is not None:
        yield Forcing("forced_bos_token_id", [forced], 0, vocab_size)
    if config.forced_eos_token_id and max_new_tokens is not None:
        yield Forcing("forced_eos_token_id", config.forced_eos_token_id, max_new_tokens - 1, vocab_size)
    if config.exponential_decay_length_penalty is not None:
        start, factor = config.exponential_decay_length_penalty
        yield LengthDecay(start, factor, eos_token_ids, vocab_size)
    if config.suppress_tokens:
        yield Suppression(config.suppress_tokens, vocab_size)
    if config.begin_suppress_tokens:
        yield BeginSuppression(config.begin_suppress_tokens, int(forced is not None), vocab_size)


def _check(
    config: GenerationConfig,
    vocab_size: int,
    eos_token_ids: Sequence[int],
    bad_words_ids: Sequence[Sequence[int]],
) -> None:
    biases: list[tuple[str, tuple[int, ...], float]] = [
        *(("logit_bias", (token_id,), bias) for token_id, bias in config.logit_bias.items()),
        *(("sequence_bias", token_ids, bias) for token_ids, bias in config.sequence_bias.items()),
    ]
    for option, token_ids, bias in biases:
        if max(token_ids) >= vocab_size:
            raise _beyond_vocabulary(option, max(token_ids), vocab_size)
        if bias > _MAX_BIAS:
            raise OptionError(
                f"{option} of token id {', '.join(map(str, token_ids))} must be at most {_MAX_BIAS:g} "
                f"(-inf forbids it), not {bias!r}"
            )
    for option, forced in (
        ("forced_bos_token_id", config.forced_bos_token_id or 0),
        ("forced_eos_token_id", max(config.forced_eos_token_id, default=0)),
    ):
        if forced >= vocab_size:
            raise _beyond_vocabulary(option, forced, vocab_size)
    if config.exponential_decay_length_penalty is not None and not eos_token_ids:
        raise OptionError(
            "exponential_decay_length_penalty is about the end of a sequence, and this model names no token for it: "
            "set eos_token_ids"
        )
    if not all(len(word) for word in bad_words_ids):
        raise OptionError("bad_words: a bad word has no tokens, so that it cannot be forbidden")


def _beyond_vocabulary(option: str, token_id: int, vocab_size: int) -> OptionError:
    return OptionError(
        f"{option} names token id {token_id}, but this model has token ids 0 to {vocab_size - 1}"
    )
