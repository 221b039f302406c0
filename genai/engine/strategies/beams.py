"""Beam search over the sequences of one request: where beams lie, and what becomes of them at the end.

Which beam goes on with which token is `BeamSearch`'s to decide; here the caches follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason, Piece, TokenLogprob
from genai.engine.sequence import GenerationSequence
from genai.engine.strategies.beam_search import BeamSearch, BeamStep, Hypothesis
from genai.errors import GenerationError
from genai.model import Model, Span, StepOutput
from genai.sampling import check_finite, log_softmax, token_logprob
from genai.text import RegexStopMatcher, find_regex

__all__ = ["BeamStrategy"]


@dataclass(slots=True)
class _Group:
    """Beams that are searched together; `sequences[i]` holds the search's beam i."""

    search: BeamSearch
    sequences: list[GenerationSequence]

    @property
    def goes_on(self) -> bool:
        return self.sequences[0].finish_reason is None


class BeamStrategy:
    """A sequence for each beam; which beam a sequence holds changes with every step.

    Several groups of beams search one after the other (Vijayakumar et al., 2016): what those before a group have chosen at
    a step is less likely for it, by `diversity_penalty` for every beam that chose it.
    """

    def __init__(self, request: Request, model: Model) -> None:
        self.request = request
        self._cache = model.cache
        config = request.config
        size = config.num_beams // config.num_beam_groups
        self._groups = [
            _Group(
                self._make_search(size, model),
                [self._make_sequence(first + index, model) for index in range(size)],
            )
            for first in range(0, config.num_beams, size)
        ]

    takes_drafts = False

    @property
    def sequences(self) -> list[GenerationSequence]:
        """The beams of all groups."""
        return [sequence for group in self._groups for sequence in group.sequences]

    def rows(self) -> list[Span]:
        """Return the last token of every beam, group by group, best beam first."""
        return [
            Span(beam.slot, beam.ids[-1:], 1)
            for group in self._groups
            if group.goes_on
            for beam in group.sequences
        ]

    def take(self, output: StepOutput, first: int) -> bool:
        """Take one step of each group's search and copy the caches of beams that split in two."""
        has_ended = False
        chosen: list[int] = []
        for group in self._groups:
            if not group.goes_on:
                continue
            beams = group.sequences
            logits = np.stack([output.logits_of(first + index, 1)[0] for index in range(len(beams))])
            first += len(beams)
            continuations = self._advance(group, logits, chosen)
            self.request.times.note_first_token()
            if continuations is None:
                for beam in beams:
                    beam.end("length")  # the hypotheses have reasons of their own
                has_ended = True
            else:
                self._follow(group, continuations)
            chosen += [beam[-1] for beam in group.search.beams]
        return has_ended

    def end(self, reason: FinishReason) -> None:
        """End all beams; the hypotheses have reasons of their own."""
        for beam in self.sequences:
            if beam.finish_reason is None:
                beam.end(reason)

    def finish(self) -> Sequence[Choice]:
        """Return the best hypotheses, and emit each as one piece."""
        request = self.request
        found = [
            hypothesis
            for group in self._groups
            for hypothesis in group.search.best(
                len(group.sequences), unfinished=group.sequences[0].finish_reason or "length"
            )
        ]
        if len(self._groups) > 1:
            found.sort(
                key=lambda hypothesis: -hypothesis.score
            )  # stable: the earlier group's of equals goes first
        choices = [self._choice(hypothesis) for hypothesis in found[: request.config.num_return_sequences]]
        if request.stream:
            for index, choice in enumerate(choices):
                request.emit(Piece.of_choice(choice, index))
        return choices

    def _make_sequence(self, index: int, model: Model) -> GenerationSequence:
        sampler = self.request.make_sampler(
            vocab_size=model.vocab_size, stream=index, max_length=model.context_length
        )
        return GenerationSequence(
            self.request, index, sampler, max_length=model.context_length, is_final=False
        )

    def _make_search(self, num_beams: int, model: Model) -> BeamSearch:
        config = self.request.config
        return BeamSearch(
            num_beams=num_beams,
            num_stop_tokens=len(self.request.stop_token_ids),
            max_new_tokens=self.request.max_new_tokens(model.context_length),
            length_penalty=config.length_penalty,
            early_stopping=config.early_stopping,
            ends=self._ends,
        )

    def _advance(
        self, group: _Group, logits: npt.NDArray[np.float32], chosen: Sequence[int]
    ) -> list[BeamStep] | None:
        """Take one step of a group's search.

        Args:
            group: The group.
            logits: float32 [beams, vocab].
            chosen: The tokens that the beams of groups before it go on with.
        """
        config = self.request.config
        check_finite(logits)
        log_probs = np.stack(
            [
                beam.sampler.process_logits(log_softmax(row))
                for beam, row in zip(group.sequences, logits, strict=True)
            ]
        )
        if chosen:
            counts = np.bincount(chosen, minlength=logits.shape[1]).astype(np.float32)
            log_probs = log_probs - np.float32(config.diversity_penalty) * counts
        if config.renormalize_logits:
            log_probs = log_softmax(log_probs)
        num_top = min(config.top_logprobs, logits.shape[1])

        def describe(beam: int, token_id: int) -> TokenLogprob:
            return TokenLogprob(token_id, *token_logprob(logits[beam], token_id, num_top))

        steps = group.search.advance(log_probs, describe if config.logprobs else None)
        if group.search.has_no_beam and not group.search.hypotheses:
            raise GenerationError(
                "no token is left to generate: the options forbid every token in every beam"
            )
        return steps

    def _follow(self, group: _Group, continuations: Sequence[BeamStep]) -> None:
        """Let sequences hold the next beams: the first of a beam stays where it is, others go where beams died out."""
        beams = group.sequences
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
            child.ids = [*self.request.prompt_token_ids, *group.search.beams[rank]]
        group.sequences = [child for child, _, _ in successors]

    def _ends(self, token_ids: tuple[int, ...]) -> bool:
        """Whether a beam ends with its last token."""
        request = self.request
        config = request.config
        if token_ids[-1] in request.stop_token_ids:
            return True
        if config.stopping_criteria and request.meets_criterion((*request.prompt_token_ids, *token_ids)):
            return True
        if not (config.stop or config.stop_regex) or request.tokenizer is None:
            return False
        text = request.tokenizer.decode(token_ids)
        return any(stop in text for stop in config.stop) or find_regex(config.stop_regex, text)

    def _choice(self, hypothesis: Hypothesis) -> Choice:
        request, token_ids = self.request, hypothesis.token_ids
        if not token_ids:  # no step was taken
            return Choice("", (), hypothesis.finish_reason, () if request.config.logprobs else None)
        shown = token_ids[:-1] if token_ids[-1] in request.stop_token_ids else token_ids
        text = request.tokenizer.decode(shown) if request.tokenizer is not None else ""
        stop_text = request.stop_texts.get(token_ids[-1])
        if request.config.stop or request.config.stop_regex:
            matcher = RegexStopMatcher(request.config.stop, request.config.stop_regex)
            text = matcher.push(text).emit + matcher.finish()
            stop_text = matcher.matched or stop_text
        answer = request.take_apart(text)
        return Choice(
            answer.text,
            token_ids,
            hypothesis.finish_reason,
            hypothesis.logprobs if request.config.logprobs else None,
            hypothesis.score,
            reasoning=answer.reasoning,
            tool_calls=answer.tool_calls,
            stop_text=stop_text,
            cut_call=answer.cut_call,
        )
