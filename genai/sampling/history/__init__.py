"""The host-side processors of one sequence, with the state that lets each step cost what changes, not what was said.

Each is the incremental form of one function of `processors`: `apply` changes the logits in place, `accept` learns of
a new token, `copy` gives a beam its own state.
"""

from __future__ import annotations

from collections.abc import Sequence

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.sampling.history.bans import BadWordsBan, EosBan, NgramBan, Suppression
from genai.sampling.history.penalties import CountPenalty, LogitBias, RepetitionPenalty
from genai.sampling.history.processor import LogitsProcessor

__all__ = ["LogitsProcessor", "build_history_processors"]

_MAX_BIAS = 1e30  # far above any logit, and finite in float32 after penalties and temperature


def build_history_processors(
    config: GenerationConfig,
    *,
    vocab_size: int,
    prompt_token_ids: Sequence[int],
    eos_token_ids: Sequence[int],
    bad_words_ids: Sequence[Sequence[int]],
) -> list[LogitsProcessor]:
    """Build the processors that a configuration asks for, in the order of `processors`.

    As in transformers, a bad word that is just an end-of-sequence token is passed over.

    Raises:
        OptionError: A biased token is outside the vocabulary, a bad word has no tokens, a bias or penalty is infinite.
    """
    _check(config, vocab_size, bad_words_ids)
    result: list[LogitsProcessor] = []
    if config.logit_bias:
        result.append(LogitBias(config.logit_bias))
    if config.repetition_penalty != 1:
        result.append(RepetitionPenalty(config.repetition_penalty, prompt_token_ids, vocab_size))
    if config.presence_penalty or config.frequency_penalty:
        result.append(CountPenalty(config.presence_penalty, config.frequency_penalty, vocab_size))
    if config.no_repeat_ngram_size:
        result.append(NgramBan(config.no_repeat_ngram_size, prompt_token_ids, vocab_size))
    bad_words = [tuple(word) for word in bad_words_ids if len(word) > 1 or word[0] not in eos_token_ids]
    if bad_words:
        result.append(BadWordsBan(bad_words, prompt_token_ids, vocab_size))
    if config.min_new_tokens and eos_token_ids:
        result.append(EosBan(config.min_new_tokens, eos_token_ids, vocab_size))
    if config.suppress_tokens:
        result.append(Suppression(config.suppress_tokens, vocab_size))
    return result


def _check(config: GenerationConfig, vocab_size: int, bad_words_ids: Sequence[Sequence[int]]) -> None:
    for token_id, bias in config.logit_bias.items():
        if token_id >= vocab_size:
            raise OptionError(
                f"logit_bias names token id {token_id}, but this model has token ids 0 to {vocab_size - 1}"
            )
        if bias > _MAX_BIAS:
            raise OptionError(
                f"logit_bias of token id {token_id} must be at most {_MAX_BIAS:g} (-inf forbids it), not {bias!r}"
            )
    if not all(len(word) for word in bad_words_ids):
        raise OptionError("bad_words: a bad word has no tokens, so that it cannot be forbidden")
