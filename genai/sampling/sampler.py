"""The sampler of one sequence: logits in, a token and its log-probability out.

It knows the options and the tokens of its sequence, and neither the model nor the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from genai.config import GenerationConfig
from genai.errors import GenerationError, UnusableOptionsError
from genai.sampling.history import (
    Constraint,
    LogitsProcessor,
    build_history_processors,
    make_watermark,
    only_penalize,
)
from genai.sampling.logprobs import token_logprob
from genai.sampling.mirostat import Mirostat
from genai.sampling.processors import Logits
from genai.sampling.selection import Filters, draw_index, narrow, scale, select
from genai.sampling.uniforms import UniformStream

__all__ = ["Sample", "Sampler"]

_TOKEN, _EXCLUSION = range(2)
"""What the uniforms of a position are for: which token is drawn, and whether XTC excludes the top choices."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A chosen token.

    Args:
        token_id: The token.
        logprob: Its log-probability under the model: log-softmax of the raw logits, before biases, penalties, bans,
            temperature and filters, as OpenAI and vLLM report it. `None` where no logprobs are wanted.
        top_logprobs: The most likely tokens with theirs, in descending order, equal ones by ascending id.
    """

    token_id: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one sequence and keeps what its options need to know of the earlier ones.

    `sample` is a function of the logits and of the tokens accepted so far, and the uniforms that it uses belong to the
    position (see `uniforms`), so sampling a position again gives the same token.

    Args:
        config: Options; those about beams, stopping and lengths other than min_new_tokens are not looked at.
        vocab_size: Number of logits.
        prompt_token_ids: Tokens before the first sampled one.
        eos_token_ids: What min_new_tokens forbids.
        bad_words_ids: `config.bad_words` as token sequences.
        dry_breaker_ids: `config.dry_sequence_breakers` as token sequences.
        max_new_tokens: At how many tokens the sequence ends; `None` where that is not known.
        constraint: Masks what may not follow, such as a grammar; it comes after the options' own processors.
        reasoning_limit: Ends reasoning that has gone on for too long.
        stream: Index of the sequence among those that share the seed.
        seed: Seed of the random numbers, 0 to 2**64 - 1.

    Attributes:
        is_argmax: The next token is the argmax of the raw logits and no logprobs are wanted, so that whoever runs the
            batch may take it without calling `sample`. Can change by `accept` (after min_new_tokens, or where a call begins).

    Raises:
        OptionError: A biased token is outside the vocabulary, a bad word has no tokens, a bias is too large.

    >>> sampler = Sampler(
    ...     GenerationConfig(repetition_penalty=4.0),
    ...     vocab_size=3,
    ...     prompt_token_ids=[0],
    ...     eos_token_ids=[],
    ...     seed=0,
    ... )
    >>> sampler.sample(np.array([3, 2, 1], np.float32))
    Sample(token_id=1, logprob=None, top_logprobs=())
    >>> sampler.accept(1)
    >>> sampler.sample(np.array([3, 2, 1], np.float32)).token_id
    2
    """

    __slots__ = (
        "_chances",
        "_constraint",
        "_filters",
        "_logprobs",
        "_mirostat",
        "_num_accepted",
        "_num_top_logprobs",
        "_processors",
        "_uniforms",
        "_vocab_size",
        "_waits",
        "_watermark",
        "is_argmax",
    )

    @np.errstate(over="ignore")  # of numbers beyond float32; `sample` looks at what they come to
    def __init__(
        self,
        config: GenerationConfig,
        *,
        vocab_size: int,
        prompt_token_ids: Sequence[int],
        eos_token_ids: Sequence[int],
        bad_words_ids: Sequence[Sequence[int]] = (),
        dry_breaker_ids: Sequence[Sequence[int]] = (),
        max_new_tokens: int | None = None,
        constraint: Constraint | None = None,
        reasoning_limit: LogitsProcessor | None = None,
        stream: int = 0,
        seed: int,
    ) -> None:
        self._vocab_size = vocab_size
        self._logprobs = config.logprobs or config.best_of is not None
        self._num_top_logprobs = min(config.top_logprobs, vocab_size)
        self._filters = Filters.of(config) if config.is_sampling else None
        self._mirostat = Mirostat(config.mirostat_tau, config.mirostat_eta) if config.mirostat else None
        self._uniforms = UniformStream(seed, stream, _TOKEN)
        self._chances = UniformStream(seed, stream, _EXCLUSION) if config.xtc_probability else None
        self._num_accepted = 0
        processors = build_history_processors(
            config,
            vocab_size=vocab_size,
            prompt_token_ids=prompt_token_ids,
            eos_token_ids=eos_token_ids,
            bad_words_ids=bad_words_ids,
            dry_breaker_ids=dry_breaker_ids,
            max_new_tokens=max_new_tokens,
        )
        self._constraint = constraint
        masks = [mask for mask in (reasoning_limit, constraint) if mask is not None]
        self._processors: tuple[LogitsProcessor, ...] = (*processors, *masks)
        self._watermark: LogitsProcessor | None = None
        if config.watermarking_config is not None:
            watermark = make_watermark(config.watermarking_config, prompt_token_ids, vocab_size)
            if config.is_sampling:
                self._watermark = watermark  # after the filters
            else:
                self._processors += (watermark,)
        self._update_flags()

    def sample(self, logits: Logits, *, raw_logits: Logits | None = None) -> Sample:
        """Choose the next token.

        Args:
            logits: float32 [vocab] of the last position; not mutated.
            raw_logits: Those whose log-probabilities are told, where others than these.

        Raises:
            GenerationError: The logits hold NaN or +inf, or all are -inf.
            UnusableOptionsError: The options leave no token.
        """
        assert logits.shape == (self._vocab_size,), (
            f"logits of shape {logits.shape}, not ({self._vocab_size},)"
        )
        if not np.isfinite(logits[logits.argmax()]):  # argmax finds the first NaN, else the maximum
            raise GenerationError(self._describe_bad_logits(logits))
        # What options of any size come to is looked at.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scores = self.process_logits(logits)
            best = int(scores.argmax())
            if not np.isfinite(scores[best]):
                raise UnusableOptionsError(self._describe_bad_scores(scores))
            token_id = best if self._filters is None else self._draw(scores, self._filters)
        if not self._logprobs:
            return Sample(token_id)
        raw = logits if raw_logits is None else raw_logits
        return Sample(token_id, *token_logprob(raw, token_id, self._num_top_logprobs))

    def process_logits(self, logits: Logits) -> Logits:
        """Apply biases, penalties and bans, the part that beam search needs too.

        Transformers' beam search gives its processors log-probabilities: pass `log_softmax(logits)` to equal it.

        Args:
            logits: float32 [vocab]; not mutated.

        Returns:
            A new array, or the given one where no option changes it.
        """
        if not self._processors or (self._waits and len(self._processors) == 1):
            return logits
        scores = logits.copy()
        # Padding near the lowest float becomes -inf.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            for processor in self._processors:
                processor.apply(scores)
        return scores

    def forced_token(self) -> int | None:
        """Return the next token where no logits can change it, as a grammar leaves no other and no logprobs are wanted."""
        if self._constraint is None or self._logprobs or self._mirostat is not None:
            return None
        if not only_penalize(p for p in self._processors if p is not self._constraint):
            return None
        return self._constraint.forced_token()

    def accept(self, token_id: int) -> None:
        """Advance by one token of the sequence, whoever chose it."""
        self._num_accepted += 1
        if self._mirostat is not None:
            self._mirostat.accept(token_id)
        if self._watermark is not None:
            self._watermark.accept(token_id)
        if self._processors:
            for processor in self._processors:
                processor.accept(token_id)
                if processor.is_done:
                    self._processors = tuple(p for p in self._processors if not p.is_done)
                    self._update_flags()
            if self._waits and self._constraint is not None and not self._constraint.is_waiting:
                self._update_flags()

    def copy(self) -> Self:
        """Return a sampler in the same state that goes its own way, as a beam does that splits in two."""
        twin = copy.copy(self)
        twin._constraint = None if self._constraint is None else self._constraint.copy()
        twin._processors = tuple(
            twin._constraint if twin._constraint is not None and each is self._constraint else each.copy()
            for each in self._processors
        )
        twin._mirostat = None if self._mirostat is None else self._mirostat.copy()
        twin._watermark = None if self._watermark is None else self._watermark.copy()
        return twin

    def _draw(self, scores: Logits, filters: Filters) -> int:
        """Draw a token with the numbers of this position."""
        uniform = self._uniforms.at(self._num_accepted)
        if self._mirostat is not None:
            return self._mirostat.choose(scale(scores, filters), uniform)
        chance = 1.0 if self._chances is None else self._chances.at(self._num_accepted)
        if self._watermark is None:
            return select(scores, filters, uniform, chance)
        ids, scores = narrow(scores, filters, chance)
        marked = np.full(self._vocab_size, -np.inf, np.float32)
        marked[slice(None) if ids is None else ids] = scores
        self._watermark.apply(marked)
        return draw_index(marked, uniform)

    def _update_flags(self) -> None:
        constraint = self._constraint
        self._waits = constraint is not None and constraint.is_waiting and not constraint.is_done
        num_active = len(self._processors) - self._waits
        self.is_argmax = num_active == 0 and self._filters is None and not self._logprobs

    def _describe_bad_logits(self, logits: Logits) -> str:
        num_nan = int(np.isnan(logits).sum())
        num_inf = int((logits == np.inf).sum())
        found = " and ".join(
            f"{count} of {logits.size} are {name}"
            for count, name in ((num_nan, "NaN"), (num_inf, "+inf"))
            if count
        )
        return (
            f"the model's logits for generated token {self._num_accepted} are not usable: {found or 'all are -inf'}. "
            "The weights are damaged, or their precision overflows: validate the model folder, or export it in fp32."
        )

    def _describe_bad_scores(self, scores: Logits) -> str:
        options = ", ".join(processor.option for processor in self._processors)
        if scores.max() == -np.inf:
            return (
                f"no token is left to generate: the options {options} forbid every token that the model allows as "
                f"generated token {self._num_accepted}; relax one of them"
            )
        return (
            f"the options {options} take a logit beyond the range of float32 at generated token "
            f"{self._num_accepted}; choose values of smaller size"
        )
