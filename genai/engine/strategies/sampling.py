"""Sampling, greedy search included: independent continuations of one prompt."""

from __future__ import annotations

from collections.abc import Sequence

from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason, Piece
from genai.engine.sequence import GenerationSequence
from genai.model import Model, Span, StepOutput

__all__ = ["SamplingStrategy"]


class SamplingStrategy:
    """One sequence for each that is to be returned; every one draws for itself.

    Where `best_of` asks for more than are returned, the likeliest per token are, each as one piece at the end.
    """

    def __init__(self, request: Request, model: Model) -> None:
        self.request = request
        count = request.config.best_of or request.config.num_return_sequences
        self._is_ranked = request.config.best_of is not None
        self.sequences = [
            GenerationSequence(
                request,
                index,
                request.make_sampler(
                    vocab_size=model.vocab_size, stream=index, max_length=model.context_length
                ),
                max_length=model.context_length,
                is_streamed=not self._is_ranked,
            )
            for index in range(count)
        ]
        self._running = list(self.sequences)

    max_row_tokens = 1

    def rows(self) -> list[Span]:
        """Return the last token of every sequence that goes on."""
        return [
            Span(
                sequence.slot,
                sequence.ids[-1:],
                1,
                goes_on_greedily=sequence.sampler.is_argmax and not sequence.is_nearly_full,
            )
            for sequence in self._running
        ]

    def take(self, output: StepOutput, first: int) -> bool:
        """Choose a token for each row."""
        for index, sequence in enumerate(self._running, start=first):
            sampler = sequence.sampler
            if sampler.is_argmax:
                token_id = output.best_id(index)
                if token_id is not None:
                    sequence.commit(token_id)
                    continue
            sample = sampler.sample(output.logits_of(index, 1)[0])
            sequence.commit(sample.token_id, sample)
        self.request.note_first_token()
        going_on = [sequence for sequence in self._running if sequence.finish_reason is None]
        has_ended = len(going_on) < len(self._running)
        self._running = going_on
        return has_ended

    def end(self, reason: FinishReason) -> None:
        """End the sequences that go on."""
        for sequence in self._running:
            sequence.end(reason)
        self._running = []

    def finish(self) -> Sequence[Choice]:
        """Return the continuations in order, of draw or of rank."""
        if not self._is_ranked:
            return [sequence.choice() for sequence in self.sequences]
        ranked = sorted(self.sequences, key=lambda sequence: -sequence.mean_logprob)
        request, count = self.request, self.request.config.num_return_sequences
        request.num_discarded_tokens = sum(len(sequence.token_ids) for sequence in ranked[count:])
        choices = [sequence.choice() for sequence in ranked[:count]]
        if request.stream:
            for index, choice in enumerate(choices):
                request.emit(
                    Piece(choice.text, choice.token_ids, choice.finish_reason, choice.logprobs, index)
                )
        return choices
