"""Sampling, greedy search included: independent continuations of one prompt."""

from __future__ import annotations

from collections.abc import Sequence

from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason, Piece
from genai.engine.sequence import GenerationSequence
from genai.model import Model, Span, StepOutput

__all__ = ["SamplingStrategy", "finish_draws", "make_draws"]

MAX_FORCED_TOKENS = 32
"""Most forced tokens that run in one row with the token before them, so that the step stays short for the other rows."""


class SamplingStrategy:
    """One sequence for each that is to be returned; every one draws for itself."""

    def __init__(self, request: Request, model: Model) -> None:
        self.request = request
        self.takes_drafts = request.config.speculative != "off" and model.cache.can_truncate
        self._cache = model.cache
        self._capacity = _capacity_of(request, model)
        self.sequences = make_draws(request, model)
        self._running = list(self.sequences)
        self._num_rows = 1  # of the last step, those of other requests among them

    def rows(self) -> list[Span]:
        """Return the last token of every sequence that goes on, with what was forced to follow it, and its draft."""
        return [self._row(sequence) for sequence in self._running]

    def take(self, output: StepOutput, first: int) -> bool:
        """Choose a token for each row, and one more for each token of its draft that was right."""
        self._num_rows = len(output.starts)
        for index, sequence in enumerate(self._running, start=first):
            if sequence.draft:
                self._verify(sequence, output, index)
            elif sequence.row:  # of forced tokens, which run one by one
                continue
            else:
                _choose(sequence, output, index, 0)
            sequence.commit_forced(self._most_forced(sequence))
        self.request.times.note_first_token()
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

    def _most_forced(self, sequence: GenerationSequence) -> int:
        """Return how many forced tokens may run in one row: no more than would fit one by one.

        Where memory will end several sequences when the first one fills it, none may run ahead of the others.
        """
        room = self._capacity - sequence.length
        if not self.request.shifts and len(self.sequences) > 1 and sequence.num_left > room:
            return 0
        return min(MAX_FORCED_TOKENS, room)

    def _row(self, sequence: GenerationSequence) -> Span:
        """Return what runs next of a sequence.

        A row of several tokens is a run of its own beside that of the others. If a run costs 1 and c for each further row or
        token, n rows cost 1 + (n - 1) c a step; k forced tokens that run at once save k / n of such steps and cost 1 + k c
        instead of c, so that they pay from k = n on, whatever c is. Fewer run one by one, with the others.
        """
        row, draft = sequence.row, sequence.draft
        if draft:
            return Span(sequence.slot, [*row, *draft], 1 + len(draft))
        if 1 < len(row) <= self._num_rows:
            return Span(sequence.slot, row[:1], 1)
        goes_on_greedily = sequence.sampler.is_argmax and sequence.num_left > 1
        return Span(sequence.slot, row, 1, goes_on_greedily=goes_on_greedily)

    def _verify(self, sequence: GenerationSequence, output: StepOutput, index: int) -> None:
        """Choose tokens as long as they are those of the draft, and the one after that; let the slot forget the others.

        Every token is chosen as it would be alone: from the model's logits behind the tokens before it, with the number
        that the sequence draws at its place. So what comes does not depend on the draft, whoever made it.
        """
        draft, sequence.draft = sequence.draft, ()
        num_right = 0
        for position in range(len(draft) + 1):
            _choose(sequence, output, index, position)
            is_right = position < len(draft) and sequence.ids[-1] == draft[position]
            num_right += is_right
            if not is_right or sequence.finish_reason is not None:
                break
        self._cache.truncate(sequence.slot, sequence.length - 1)
        self.request.drafted_tokens += len(draft)
        self.request.accepted_tokens += num_right


def _choose(sequence: GenerationSequence, output: StepOutput, index: int, position: int) -> None:
    """Commit the token that follows a position of a row."""
    sampler = sequence.sampler
    if sampler.is_argmax:
        token_id = output.best_id(index, position)
        if token_id is not None:
            sequence.commit(token_id)
            return
    sample = sampler.sample(output.logits_of(index, position + 1)[position])
    sequence.commit(sample.token_id, sample)


def _capacity_of(request: Request, model: Model) -> int:
    """Return how many tokens each slot of a request can hold, if it runs alone."""
    num_slots = request.num_draws * (2 if request.config.guidance_scale != 1 else 1)
    return min(model.context_length, model.cache.shape.capacity_for(num_slots))


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
            window=_capacity_of(request, model) if request.shifts else None,
        )
        for index in range(request.num_draws)
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
            request.emit(Piece.of_choice(choice, index))
    return choices
