"""Beam search over the sequences of one request: where beams lie, and what becomes of them at the end.

Which beam goes on with which token is `BeamSearch`'s to decide; here the caches follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason, Piece
from genai.engine.sequence import GenerationSequence
from genai.engine.strategies.beam_search import BeamSearch, BeamStep, Hypothesis
from genai.errors import GenerationError
from genai.model import Model, Span, StepOutput
from genai.sampling import log_softmax
from genai.tools import ToolCallDelta

__all__ = ["BeamStrategy"]


class BeamStrategy:
    """A sequence for each beam; which beam a sequence holds changes with every step."""

    def __init__(self, request: Request, model: Model) -> None:
        self.request = request
        self._cache = model.cache
        self.sequences = [
            GenerationSequence(
                request,
                index,
                request.make_sampler(vocab_size=model.vocab_size, stream=index),
                max_length=model.context_length,
                is_final=False,
            )
            for index in range(request.config.num_beams)
        ]
        config, room = request.config, model.context_length - len(request.prompt_token_ids)
        self._search = BeamSearch(
            num_beams=config.num_beams,
            num_stop_tokens=len(request.stop_token_ids),
            max_new_tokens=min(config.max_new_tokens or room, room),
            length_penalty=config.length_penalty,
            early_stopping=config.early_stopping,
            ends=self._ends,
        )

    max_row_tokens = 1

    def rows(self) -> list[Span]:
        """Return the last token of every beam, best beam first."""
        return [Span(beam.slot, beam.ids[-1:], 1) for beam in self.sequences]

    def take(self, output: StepOutput, first: int) -> bool:
        """Take one step of the search and copy the caches of beams that split in two."""
        beams = self.sequences
        logits = np.stack([output.logits_of(first + index, 1)[0] for index in range(len(beams))])
        if not np.isfinite(logits.max(axis=1)).all():
            raise GenerationError(
                "the model's logits are NaN or infinite: the weights are damaged, or their precision overflows; "
                "validate the model folder, or export it in fp32"
            )
        log_probs = np.stack(
            [beam.sampler.process_logits(log_softmax(row)) for beam, row in zip(beams, logits, strict=True)]
        )
        self.request.note_first_token()
        continuations = self._search.advance(log_probs)
        if continuations is None:
            self.end("length")
            return True
        self._follow(continuations)
        return False

    def end(self, reason: FinishReason) -> None:
        """End all beams; the hypotheses have reasons of their own."""
        for beam in self.sequences:
            if beam.finish_reason is None:
                beam.end(reason)

    def finish(self) -> Sequence[Choice]:
        """Return the best hypotheses, and emit each as one piece."""
        request = self.request
        reason = self.sequences[0].finish_reason or "length"
        best = self._search.best(request.config.num_return_sequences, unfinished=reason)
        choices = [self._choice(hypothesis) for hypothesis in best]
        if request.stream:
            for index, choice in enumerate(choices):
                request.emit(
                    Piece(
                        choice.text,
                        choice.token_ids,
                        choice.finish_reason,
                        index=index,
                        reasoning=choice.reasoning,
                        tool_calls=tuple(
                            map(ToolCallDelta.of, range(len(choice.tool_calls)), choice.tool_calls)
                        ),
                    )
                )
        return choices

    def _follow(self, continuations: Sequence[BeamStep]) -> None:
        """Let sequences hold the next beams: the first of a beam stays where it is, others go where beams died out."""
        beams = self.sequences
        free = [beams[i] for i in range(len(beams)) if all(c.parent != i for c in continuations)]
        taken: set[int] = set()
        successors = []
        for continuation in continuations:
            parent = beams[continuation.parent]
            child = parent
            if continuation.parent in taken:
                child = free.pop()
                self._cache.copy(parent.slot, child.slot)
            taken.add(continuation.parent)
            successors.append((child, parent.sampler, continuation.token_id))
        for rank, (child, sampler, token_id) in enumerate(successors):
            child.sampler = sampler.copy()
            child.sampler.accept(token_id)
            child.ids = [*self.request.prompt_token_ids, *self._search.beams[rank]]
        self.sequences = [child for child, _, _ in successors]

    def _ends(self, token_ids: tuple[int, ...]) -> bool:
        """Whether a beam ends with its last token."""
        request = self.request
        if token_ids[-1] in request.stop_token_ids:
            return True
        if not request.config.stop or request.tokenizer is None:
            return False
        text = request.tokenizer.decode(token_ids)
        return any(stop in text for stop in request.config.stop)

    def _choice(self, hypothesis: Hypothesis) -> Choice:
        request, token_ids = self.request, hypothesis.token_ids
        if not token_ids:  # no step was taken
            return Choice("", (), hypothesis.finish_reason)
        shown = token_ids[:-1] if token_ids[-1] in request.stop_token_ids else token_ids
        text = request.tokenizer.decode(shown) if request.tokenizer is not None else ""
        for stop in request.config.stop:
            text = text.split(stop, 1)[0]
        answer = request.take_apart(text)
        return Choice(
            answer.text,
            token_ids,
            hypothesis.finish_reason,
            score=hypothesis.score,
            reasoning=answer.reasoning,
            tool_calls=answer.tool_calls,
        )
