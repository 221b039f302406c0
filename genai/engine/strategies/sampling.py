"""Sampling, greedy search included: independent continuations of one prompt."""

from __future__ import annotations

from collections.abc import Sequence

from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason, Piece
from genai.engine.sequence import GenerationSequence
from genai.model import Model, Span, StepOutput

__all__ = ["SamplingStrategy", "finish_draws", "make_draws"]


class SamplingStrategy:
    """One sequence for each that is to be returned; every one draws for itself."""

    def __init__(self, request: Request, model: Model) -> None:
        self.request = request
        self.sequences = make_draws(request, model)
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
        return finish_draws(self.request, self.sequences)


def make_draws(request: Request, model: Model) -> list[GenerationSequence]:
    """Return a sequence for each continuation that is to be drawn."""
    config = request.config
    return [
        GenerationSequence(
            request,
            index,
            request.make_sampler(vocab_size=model.vocab_size, stream=index, max_length=model.context_length),
            max_length=model.context_length,
            is_streamed=config.best_of is None,
        )
        for index in range(config.best_of or config.num_return_sequences)
    ]


def finish_draws(request: Request, sequences: Sequence[GenerationSequence]) -> list[Choice]:
    """Return the continuations in order; where `best_of` has more drawn, the likeliest per token.

    Which these are is known only now, so each is emitted as one piece.
    """
    if request.config.best_of is None:
        return [sequence.choice() for sequence in sequences]
    ranked = sorted(sequences, key=lambda sequence: -sequence.mean_logprob)
    count = request.config.num_return_sequences
    request.num_discarded_tokens = sum(len(sequence.token_ids) for sequence in ranked[count:])
    choices = [sequence.choice() for sequence in ranked[:count]]
    if request.stream:
        for index, choice in enumerate(choices):
            request.emit(Piece(choice.text, choice.token_ids, choice.finish_reason, choice.logprobs, index))
    return choices
