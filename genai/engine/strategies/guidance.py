"""Sampling with classifier-free guidance: each sequence has a twin that continues another prompt with the same tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason
from genai.engine.sequence import GenerationSequence
from genai.engine.strategies.sampling import finish_draws, make_draws
from genai.errors import UnusableOptionsError
from genai.model import Model, Span, StepOutput
from genai.sampling import guide

__all__ = ["GuidedStrategy"]


class GuidedStrategy:
    """Pairs of a sequence and its twin, which chooses nothing and is not returned."""

    def __init__(self, request: Request, model: Model) -> None:
        self.request = request
        self._draws = make_draws(request, model)
        self._running = [
            (
                sequence,
                GenerationSequence(
                    request,
                    len(self._draws) + sequence.index,
                    sequence.sampler,
                    max_length=model.context_length,
                    is_final=False,
                    prompt_token_ids=request.negative_token_ids,
                    window=sequence.window,
                ),
            )
            for sequence in self._draws
        ]
        self.sequences = [*self._draws, *(twin for _, twin in self._running)]

    takes_drafts = False

    def rows(self) -> list[Span]:
        """Return the last token of every sequence that goes on, and of its twin after it."""
        return [Span(each.slot, each.ids[-1:], 1) for pair in self._running for each in pair]

    def take(self, output: StepOutput, first: int) -> bool:
        """Choose a token for each pair."""
        scale = self.request.config.guidance_scale
        for place, (sequence, twin) in enumerate(self._running):
            index = first + 2 * place
            logits, without_prompt = output.logits_of(index, 1)[0], output.logits_of(index + 1, 1)[0]
            guided = guide(logits, without_prompt, scale)
            if not np.isfinite(guided.max()) and np.isfinite([logits.max(), without_prompt.max()]).all():
                raise UnusableOptionsError(
                    f"guidance_scale ({scale:g}) takes logits beyond the range of float32: choose a smaller one",
                    option="guidance_scale",
                )
            sample = sequence.sampler.sample(guided, raw_logits=logits)
            sequence.commit(sample.token_id, sample)
            twin.ids.append(sample.token_id)
            if sequence.finish_reason is not None:
                twin.end(sequence.finish_reason)
        self.request.times.note_first_token()
        going_on = [pair for pair in self._running if pair[0].finish_reason is None]
        has_ended = len(going_on) < len(self._running)
        self._running = going_on
        return has_ended

    def end(self, reason: FinishReason) -> None:
        """End the sequences that go on, and their twins."""
        for pair in self._running:
            for each in pair:
                each.end(reason)
        self._running = []

    def finish(self) -> Sequence[Choice]:
        """Return the continuations in order, of draw or of rank."""
        return finish_draws(self.request, self._draws)
