"""Beam search over one request's sequences, step for step as Hugging Face transformers does it.

Each step looks at the best continuations of all beams together: those that end become hypotheses, the best of the
others are the new beams. Knows no slots: `BeamStrategy` lets the caches follow.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from genai.engine.results import FinishReason, TokenLogprob

__all__ = ["BeamSearch", "BeamStep", "Hypothesis"]

Describe: TypeAlias = Callable[[int, int], TokenLogprob]
"""Tells how likely a token is after a beam, given the beam's place and the token's id."""

NEVER = -1.0e9
"""Score of a beam that must not be chosen."""


@dataclass(frozen=True, slots=True)
class BeamStep:
    """A beam of the next step: which beam it continues, with which token."""

    parent: int
    token_id: int


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A sequence that has ended, the prompt not included."""

    token_ids: tuple[int, ...]
    score: float
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()


class BeamSearch:
    """The state of one search.

    Args:
        num_beams: How many beams to follow.
        num_stop_tokens: Number of distinct tokens that end a sequence; more of them need more candidates.
        max_new_tokens: Length at which every beam ends.
        length_penalty: Exponent on the length that scores are divided by.
        early_stopping: See `GenerationConfig`.
        ends: Tells whether a sequence of generated tokens ends with its last token.
    """

    logprobs: list[tuple[TokenLogprob, ...]]
    """What is told of each beam's tokens."""

    def __init__(
        self,
        *,
        num_beams: int,
        num_stop_tokens: int,
        max_new_tokens: int,
        length_penalty: float,
        early_stopping: bool | Literal["never"],
        ends: Callable[[tuple[int, ...]], bool],
    ) -> None:
        self.num_beams = num_beams
        self.beams: list[tuple[int, ...]] = [()] * num_beams
        self.hypotheses: list[Hypothesis] = []
        self.logprobs = [()] * num_beams
        self._scores = np.full(num_beams, NEVER, np.float32)
        self._scores[0] = 0
        self._num_candidates = max(2, 1 + num_stop_tokens) * num_beams
        self._max_new_tokens = max_new_tokens
        self._length_penalty = length_penalty
        self._early_stopping = early_stopping
        self._ends = ends
        self._can_improve = True

    @property
    def has_no_beam(self) -> bool:
        """Whether no beam can go on, because every token is forbidden."""
        return bool(self._scores[0] == -np.inf)

    def advance(
        self, log_probs: npt.NDArray[np.float32], describe: Describe | None = None
    ) -> list[BeamStep] | None:
        """Take one step.

        Args:
            log_probs: float32 [num_beams, vocab], of the token after each beam.
            describe: Tells how likely a beam's next token is; `None` where nobody wants to know.

        Returns:
            The next beams, best first; None when the search has ended.
        """
        length = len(self.beams[0]) + 1
        totals = (log_probs + self._scores[:, None]).reshape(-1)
        best = _top(totals, min(self._num_candidates, totals.size))
        candidates = [divmod(int(index), log_probs.shape[1]) for index in best]
        sequences = [(*self.beams[parent], token_id) for parent, token_id in candidates]
        too_long = length >= self._max_new_tokens
        stopped = [self._ends(token_ids) for token_ids in sequences]
        ended = [too_long or stop for stop in stopped]
        running = totals[best] + np.where(ended, np.float32(NEVER), np.float32(0))
        chosen = _top(running, self.num_beams)

        def told(candidate: int) -> tuple[TokenLogprob, ...]:
            parent, token_id = candidates[candidate]
            return (*self.logprobs[parent], describe(parent, token_id)) if describe is not None else ()

        was_full = len(self.hypotheses) == self.num_beams
        if self._can_improve and not (was_full and self._early_stopping is True):
            for rank in range(min(self.num_beams, len(best))):
                # A constraint may leave fewer candidates than beams.
                if ended[rank] and totals[best[rank]] > -np.inf:
                    score = self._score(float(totals[best[rank]]), length)
                    reason: FinishReason = "stop" if stopped[rank] else "length"
                    self._add(Hypothesis(sequences[rank], score, reason, told(rank)))

        self.logprobs = [told(int(i)) for i in chosen]
        self.beams = [sequences[i] for i in chosen]
        self._scores = running[chosen]
        self._can_improve = self._can_improve and self._improvement_is_possible(length)
        full_and_early = self._early_stopping is True and len(self.hypotheses) == self.num_beams
        if not self._can_improve or full_and_early or all(ended) or self.has_no_beam:
            return None
        return [BeamStep(*candidates[i]) for i in chosen]

    def best(self, count: int, *, unfinished: FinishReason) -> list[Hypothesis]:
        """Return the best hypotheses, filled up with beams that were cut off where too few have ended."""
        running = [
            Hypothesis(beam, self._score(float(score), max(len(beam), 1)), unfinished, logprobs)
            for beam, score, logprobs in zip(self.beams, self._scores, self.logprobs, strict=True)
        ]
        return [*self.hypotheses, *(beam for beam in running if beam.score > -math.inf)][:count]

    def _score(self, total: float, length: int) -> float:
        """Return a sum of log-probabilities over length ** length_penalty, the lowest number where it is lower."""
        if total in (0.0, -math.inf):  # a certain sequence, and one that cannot be
            return total
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            score = float(np.float64(total) / np.float64(length) ** self._length_penalty)
        return max(score, -sys.float_info.max)

    def _add(self, hypothesis: Hypothesis) -> None:
        self.hypotheses.append(hypothesis)
        self.hypotheses.sort(key=lambda h: -h.score)  # stable: the earlier of equals stays first
        del self.hypotheses[self.num_beams :]

    def _improvement_is_possible(self, length: int) -> bool:
        if self._early_stopping == "never" and self._length_penalty > 0:
            length = self._max_new_tokens
        best_running = self._score(float(self._scores[0]), length)
        full = len(self.hypotheses) == self.num_beams
        return bool(best_running > (self.hypotheses[-1].score if full else -math.inf))


def _top(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """Return the indices of the greatest values, greatest first, equal ones by index."""
    if count < values.size:
        nth = np.partition(values, values.size - count)[values.size - count]
        indices = np.flatnonzero(values >= nth)
    else:
        indices = np.arange(values.size)
    return indices[np.argsort(-values[indices], kind="stable")][:count]
