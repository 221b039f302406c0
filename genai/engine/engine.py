"""The decoding loop: one step is schedule, run, sample, commit, emit.

Whoever waits for a result drives the loop, one thread at a time: `advance` takes a step, or waits while another
thread does and returns when that step is over. So a plain loop in one thread costs no thread switch per token, and
any number of threads may wait for their own requests.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from genai.engine.beam import BeamSearch, Hypothesis
from genai.engine.request import GenerationSequence, Request
from genai.engine.results import Choice, FinishReason, Piece
from genai.engine.scheduler import DecoderModel, Scheduler
from genai.errors import GenaiError, GenerationError, OptionError
from genai.sampling import log_softmax

__all__ = ["Engine"]

PREFILL_CHUNK = 512
"""Prompt tokens that run between two decoding steps."""


class Engine:
    """Runs any number of requests at once over one model."""

    def __init__(self, model: DecoderModel, *, prefill_chunk: int = PREFILL_CHUNK) -> None:
        self._model = model
        self._prefill_chunk = prefill_chunk
        self._scheduler = Scheduler(model)
        self._searches: dict[Request, BeamSearch] = {}
        self._turn = threading.Condition()
        self._stepping_thread: int | None = None
        self._num_urgent = 0

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return self._scheduler.has_work

    def submit(self, request: Request) -> None:
        """Queue a request; `advance` runs it.

        Raises:
            OptionError: The request can never run.
        """
        self._scheduler.prepare(request)
        if len(request.prompt_token_ids) == self._model.context_length:
            self._finish_at_once(request, "length")
            return
        with self._turn:
            self._scheduler.waiting.append(request)
            self._turn.notify_all()

    def advance(self, request: Request | None = None) -> None:
        """Take one step, or wait for the step that another thread is taking.

        Returns at once if the request has ended or has pieces to fetch.
        """
        with self._exclusively(request) as has_turn:
            if not has_turn:
                return
            try:
                self._step()
            except BaseException as error:
                # Whatever interrupted the step (a failed run, Ctrl-C) left some rows committed and others not.
                self._abandon(error)
                if not isinstance(error, GenaiError):
                    raise

    def run(self, requests: Sequence[Request]) -> None:
        """Advance until all these requests have ended."""
        for request in requests:
            while not request.is_finished:
                self.advance(request)

    def cancel(self, request: Request) -> None:
        """End a request with what it has so far; does nothing if it has ended.

        It has ended when this returns, unless the caller interrupts a step of its own thread (as a signal handler
        does): then it ends before the next one.
        """
        request.is_cancelled = True
        if self._stepping_thread != threading.get_ident():
            with self._exclusively(urgent=True):
                self._end_cancelled()

    def score(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the logits at every one of these tokens, float32 [num_tokens, vocab]; waits for a free slot.

        Raises:
            OptionError: There are more tokens than the context or kv_cache_bytes holds, or none.
            GenerationError: The model failed to run; then whatever else runs has failed too.
        """
        self._scheduler.check_prompt(token_ids)
        while (logits := self._try_score(token_ids)) is None:
            self.advance()
        return logits

    def wait_for_work(self, timeout_seconds: float) -> bool:
        """Wait until there is a request to run; return whether there is one."""
        with self._turn:
            return self._turn.wait_for(lambda: self.has_work, timeout_seconds)

    def check(self) -> None:
        """Assert the invariants of scheduler and cache; for tests."""
        self._scheduler.check()

    def _try_score(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32] | None:
        """Return the logits, or None while every slot is in use."""
        with self._exclusively(urgent=True):
            cache = self._model.cache
            try:
                # A prompt of one token reuses none, so that the slot is empty and no cached prefix is lost for it.
                slot = cache.acquire(token_ids[:1], variant=self._model.variant_for(len(token_ids)))
                if slot is None:
                    return None
                fits = cache.reserve(len(token_ids))
                logits = self._model.score(slot, token_ids) if fits else None
                cache.release(slot)
            except BaseException as error:
                self._abandon(error)
                raise
        if logits is None:
            raise OptionError(f"{len(token_ids)} tokens need more KV cache than kv_cache_bytes allows")
        return logits

    @contextlib.contextmanager
    def _exclusively(self, request: Request | None = None, *, urgent: bool = False) -> Iterator[bool]:
        """Wait for the turn and hold it; yield False, without the turn, once the request needs no step any more.

        Whoever is urgent goes before those who only want the next step, or a thread that steps without pause would
        never let another in.
        """

        def is_served() -> bool:
            return request is not None and bool(request.pieces or request.is_finished)

        with self._turn:
            self._num_urgent += urgent
            try:
                while (self._stepping_thread or (self._num_urgent and not urgent)) and not is_served():
                    self._turn.wait()
            finally:
                self._num_urgent -= urgent
                if urgent:
                    self._turn.notify_all()  # an interrupted wait ends no step that would wake the others
            has_turn = not is_served()
            if has_turn:
                self._stepping_thread = threading.get_ident()
        try:
            yield has_turn
        finally:
            if has_turn:
                with self._turn:
                    self._stepping_thread = None
                    self._turn.notify_all()

    def _step(self) -> None:
        self._end_cancelled()
        self._scheduler.admit()
        self._prefill()
        self._decode()

    def _end_cancelled(self) -> None:
        """End what nobody wants any more."""
        for request in self._scheduler.take_cancelled():
            if request.sequences:
                self._end(request.sequences, "cancelled")
            else:
                self._finish_at_once(request, "cancelled")

    def _prefill(self) -> None:
        """Run one chunk of the first prompt that is not complete, or several short prompts."""
        chosen = self._scheduler.next_chunk(self._prefill_chunk)
        if not chosen:
            return
        rows = [sequence.pending[: self._prefill_chunk] for sequence in chosen]
        self._model.prefill([sequence.slot for sequence in chosen], rows)
        for sequence in chosen:
            self._scheduler.advance(sequence)

    def _decode(self) -> None:
        """Run one token of every decoding sequence, and choose the next ones."""
        self._end(self._scheduler.make_room(), "length")
        rows = list(self._scheduler.decoding)
        if not rows:
            return
        logits = self._model.decode([sequence.ids[-1] for sequence in rows])
        singles = [(row, s) for row, s in enumerate(rows) if not s.request.is_beam_search]
        self._commit_singles(singles, logits)
        beams = {sequence: row for row, sequence in enumerate(rows) if sequence.request.is_beam_search}
        for request in dict.fromkeys(sequence.request for sequence in beams):
            try:
                self._advance_beams(request, logits[[beams[beam] for beam in request.sequences]])
            except GenaiError as error:
                self._fail(request, error)

    def _commit_singles(
        self, rows: list[tuple[int, GenerationSequence]], logits: npt.NDArray[np.float32]
    ) -> None:
        """Sample each row's next token, append it, and retire what ended."""
        best = logits.argmax(axis=1).tolist()
        ended = []
        for row, sequence in rows:
            try:
                if sequence.request.is_finished:  # another sequence of it failed
                    continue
                if sequence.sampler.is_argmax and abs(logits[row, best[row]]) < math.inf:  # nor NaN
                    token_id, sample = best[row], None
                else:
                    sample = sequence.sampler.sample(logits[row])
                    token_id = sample.token_id
            except GenaiError as error:
                self._fail(sequence.request, error)
                continue
            sequence.request.note_first_token()
            sequence.commit(token_id, sample, context_length=self._model.context_length)
            if sequence.finish_reason is not None:
                ended.append(sequence)
        if ended:
            self._scheduler.retire(ended)
            for request in dict.fromkeys(sequence.request for sequence in ended):
                self._finish(request)

    def _advance_beams(self, request: Request, logits: npt.NDArray[np.float32]) -> None:
        """Take one step of a beam search and move the caches to where the next beams are."""
        beams = request.sequences
        if not np.isfinite(logits.max(axis=1)).all():
            raise GenerationError(
                "the model's logits are NaN or infinite: the weights are damaged, or their precision overflows; "
                "validate the model folder, or export it in fp32"
            )
        search = self._searches.get(request)
        if search is None:
            search = self._searches[request] = self._new_search(request)
        log_probs = np.stack(
            [beam.sampler.process_logits(log_softmax(row)) for beam, row in zip(beams, logits, strict=True)]
        )
        request.note_first_token()
        continuations = search.advance(log_probs)
        if continuations is None:
            self._end(beams, "length")
            return
        # The first continuation of a beam goes on in its slot; further ones take the slots of beams that died out.
        free = [beams[i] for i in range(len(beams)) if all(c.parent != i for c in continuations)]
        taken: set[int] = set()
        successors = []
        for continuation in continuations:
            parent = beams[continuation.parent]
            if continuation.parent in taken:
                child = free.pop()
                self._model.cache.copy(parent.slot, child.slot)
            else:
                child = parent
            taken.add(continuation.parent)
            successors.append((child, parent.sampler, continuation.token_id))
        for rank, (child, sampler, token_id) in enumerate(successors):
            child.sampler = sampler.copy()
            child.sampler.accept(token_id)
            child.ids = [*request.prompt_token_ids, *search.beams[rank]]
        request.sequences = [child for child, _, _ in successors]

    def _new_search(self, request: Request) -> BeamSearch:
        config = request.config
        room = self._model.context_length - len(request.prompt_token_ids)
        tokenizer = request.tokenizer

        def ends(token_ids: tuple[int, ...]) -> bool:
            if token_ids[-1] in request.stop_token_ids:
                return True
            if not config.stop or tokenizer is None:
                return False
            text = tokenizer.decode(token_ids)
            return any(stop in text for stop in config.stop)

        return BeamSearch(
            num_beams=config.num_beams,
            num_stop_tokens=len(request.stop_token_ids),
            max_new_tokens=min(config.max_new_tokens or room, room),
            length_penalty=config.length_penalty,
            early_stopping=config.early_stopping,
            ends=ends,
        )

    def _end(self, sequences: Sequence[GenerationSequence], reason: FinishReason) -> None:
        """End sequences for a reason that is not their last token."""
        running = [sequence for sequence in sequences if sequence.finish_reason is None]
        for sequence in running:
            sequence.end(reason)
        self._scheduler.retire(running)
        for request in dict.fromkeys(sequence.request for sequence in running):
            self._finish(request)

    def _finish_at_once(self, request: Request, reason: FinishReason) -> None:
        """End a request of which no token was chosen."""
        logprobs = () if request.config.logprobs else None
        count = request.config.num_return_sequences
        if request.stream:
            for index in range(count):
                request.emit(Piece("", (), reason, logprobs, index))
        request.finish([Choice("", (), reason, logprobs)] * count)

    def _finish(self, request: Request) -> None:
        """Give a request its result, once its last sequence has ended."""
        if any(sequence.finish_reason is None for sequence in request.sequences):
            return
        search = self._searches.pop(request, None)
        reason = request.sequences[0].finish_reason or "length"
        if not request.is_beam_search:
            request.finish([sequence.choice() for sequence in request.sequences])
        elif search is None:
            self._finish_at_once(request, reason)
        else:
            best = search.best(request.config.num_return_sequences, unfinished=reason)
            choices = [_beam_choice(request, hypothesis) for hypothesis in best]
            if request.stream:
                for i, choice in enumerate(choices):
                    request.emit(Piece(choice.text, choice.token_ids, choice.finish_reason, index=i))
            request.finish(choices)

    def _fail(self, request: Request, error: BaseException) -> None:
        """End a request with an error; its slots hold nothing that can be trusted."""
        self._searches.pop(request, None)
        running = [sequence for sequence in request.sequences if sequence.finish_reason is None]
        for sequence in running:
            self._model.cache.truncate(sequence.slot, 0)
        self._scheduler.retire(running)
        request.fail(error)

    def _abandon(self, error: BaseException) -> None:
        """End every request that runs with an error, and start over with an empty cache."""
        self._searches.clear()
        for request in self._scheduler.abandon():
            cause = error
            if not isinstance(error, GenaiError):
                cause = GenerationError(f"interrupted: {error!r}")
                cause.__cause__ = error
            request.fail(cause)


def _beam_choice(request: Request, hypothesis: Hypothesis) -> Choice:
    token_ids = hypothesis.token_ids
    shown = token_ids[:-1] if token_ids and token_ids[-1] in request.stop_token_ids else token_ids
    text = request.tokenizer.decode(shown) if request.tokenizer is not None else ""
    for stop in request.config.stop:
        text = text.split(stop, 1)[0]
    return Choice(text, token_ids, hypothesis.finish_reason, score=hypothesis.score)
