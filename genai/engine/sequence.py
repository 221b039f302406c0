"""One continuation of a prompt: its tokens, the text that they have settled, and its slot of the KV cache."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genai.cache import Slot
from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason, Piece, TokenLogprob
from genai.sampling import Sample, Sampler, check_finite, token_logprob
from genai.text import RegexStopMatcher, StopMatcher
from genai.tools import AnswerDelta, AnswerParts

__all__ = ["GenerationSequence"]

MAX_SCORED = 64
"""Most tokens of a prompt whose logits are there at once."""


class GenerationSequence:
    """One continuation of a request's prompt.

    `ids` are the prompt and all tokens generated so far. While it runs it owns a slot, which holds keys and values of
    a beginning of them. The row that it decodes next begins with the last token that logits have chosen, and takes what was
    forced to follow it; what is missing before that has to be prefilled.
    `draft` are tokens that are guessed to come next: the next step looks at them, too.

    Where it has a window, its slot never holds more tokens: whenever it is full, some after the first ones are dropped. That
    depends on nothing but which tokens have run, so that a sequence which is computed again drops the same ones.

    Args:
        request: Whose it is.
        index: Which of the request's sequences.
        sampler: Chooses its tokens.
        max_length: Most tokens, prompt included, that the model takes.
        is_final: Whether its tokens stay as they are committed; a beam's text is told only at the end.
        prompt_token_ids: What it continues; `None` is the request's prompt.
        is_streamed: Whether its pieces are told as they come, where the request is streamed.
        window: Most tokens that its slot holds, where it goes on beyond that.
    """

    def __init__(
        self,
        request: Request,
        index: int,
        sampler: Sampler,
        *,
        max_length: int,
        is_final: bool = True,
        is_streamed: bool = True,
        prompt_token_ids: Sequence[int] | None = None,
        window: int | None = None,
    ) -> None:
        self.request = request
        self.window = window
        self._num_dropped = 0
        self.index = index
        self.sampler = sampler
        self.ids = list(request.prompt_token_ids if prompt_token_ids is None else prompt_token_ids)
        self.num_prompt = len(self.ids)
        self._num_forced = 0  # tokens after the last one that logits have chosen
        self.finish_reason: FinishReason | None = None
        self.draft: Sequence[int] = ()
        self.logprobs: list[TokenLogprob] = []
        self._parts = AnswerParts()
        self._unsent = 0  # tokens since the last piece
        config, tokenizer = request.config, request.tokenizer
        self._is_streamed = request.stream and is_final and is_streamed
        needs_text = request.stream or bool(config.stop or config.stop_regex) or request.ends_at_call
        needs_text = needs_text and is_final
        self._detokenizer = tokenizer.detokenizer() if tokenizer is not None and needs_text else None
        self._stop: StopMatcher | RegexStopMatcher | None = None
        if config.stop_regex:
            self._stop = RegexStopMatcher(config.stop, config.stop_regex)
        elif config.stop:
            self._stop = StopMatcher(config.stop)
        is_parsed = self._detokenizer is not None and request.make_parser is not None
        self._parser = request.make_parser() if is_parsed and request.make_parser is not None else None
        self._slot: Slot | None = None
        self._max_ids = self.num_prompt + request.max_new_tokens(max_length)

    @property
    def slot(self) -> Slot:
        """Its slot, while it runs."""
        assert self._slot is not None
        return self._slot

    @slot.setter
    def slot(self, slot: Slot | None) -> None:
        self._slot = slot
        self._num_dropped = 0

    @property
    def has_slot(self) -> bool:
        """Whether it runs."""
        return self._slot is not None

    @property
    def token_ids(self) -> list[int]:
        """The generated tokens."""
        return self.ids[self.num_prompt :]

    @property
    def length(self) -> int:
        """How many tokens it has, without those that were dropped."""
        return len(self.ids) - self._num_dropped

    @property
    def num_positions(self) -> int:
        """How many tokens its slot has to hold until the next row has run."""
        return self.length if self.window is None else min(self.length, self.window)

    @property
    def _num_run(self) -> int:
        """How many of its tokens the slot holds, or has held."""
        return self._num_dropped + len(self.slot.token_ids)

    @property
    def _row_start(self) -> int:
        return len(self.ids) - 1 - self._num_forced

    @property
    def mean_logprob(self) -> float:
        """The mean log-probability of its tokens; the lowest where it has none."""
        values = [entry.logprob for entry in self.logprobs]
        return sum(values) / len(values) if values else -math.inf

    @property
    def pending(self) -> list[int]:
        """Tokens to prefill before the next row can be decoded."""
        return self.ids[self._num_run : self._row_start]

    @property
    def row(self) -> list[int]:
        """The tokens of the next row: the last one, after those before it that have not run."""
        return self.ids[self._num_run :]

    @property
    def reusable(self) -> list[int]:
        """The beginning of `ids` that may be taken from a cache, and one token: all, or what needs no logits any more."""
        return self.ids[: self._num_scored + 1] if self._wants_prompt_logits else self.ids[: self.window]

    def next_chunk(self, max_tokens: int) -> tuple[list[int], int]:
        """Return what to prefill next, and at how many of its last tokens logits are wanted: all of them or none."""
        if self.window is not None:
            max_tokens = min(max_tokens, self.window - len(self.slot.token_ids))
        if not self._wants_prompt_logits:
            return self.pending[:max_tokens], 0
        start, scored = len(self.slot.token_ids), self._num_scored
        if start < scored:  # they had to be computed again
            return self.pending[: min(max_tokens, scored - start)], 0
        chunk = self.pending[: min(max_tokens, MAX_SCORED, self.num_prompt - 1 - start)]
        return chunk, len(chunk)

    def take_prompt_logits(self, logits: npt.NDArray[np.float32]) -> None:
        """Take the logits at the chunk that has run, float32 [tokens, vocab]: those of the tokens after each of its own.

        Raises:
            GenerationError: They are not usable.
        """
        check_finite(logits)
        start = self._num_scored + 1
        for token_id, row in zip(self.ids[start : start + len(logits)], logits, strict=True):
            logprob = token_logprob(row, token_id, min(self.request.config.prompt_logprobs or 0, row.size))
            self.request.prompt_logprobs.append(TokenLogprob(token_id, *logprob))

    @property
    def _num_scored(self) -> int:
        return len(self.request.prompt_logprobs)

    @property
    def _wants_prompt_logits(self) -> bool:
        wants = self.request.config.prompt_logprobs is not None and self.index == 0
        return wants and self._num_scored < self.num_prompt - 1

    @property
    def is_ready(self) -> bool:
        """Whether it has a slot, in which only the next row is missing."""
        return self._slot is not None and self._row_start <= self._num_run < len(self.ids)

    @property
    def num_left(self) -> int:
        """How many tokens it may still get."""
        return self._max_ids - len(self.ids)

    @property
    def num_to_drop(self) -> int:
        """How many tokens after the first ones have to be dropped before anything can run."""
        if self.window is None or self._slot is None or len(self._slot.token_ids) < self.window:
            return 0
        return (self.window - self.request.config.num_sink_tokens) // 2

    def note_dropped(self, num_tokens: int) -> None:
        """Note that so many tokens were dropped from its slot."""
        self._num_dropped += num_tokens

    def commit(self, token_id: int, sample: Sample | None = None) -> None:
        """Append a token that logits have chosen, emit the text that it settles, and end if it ends the sequence."""
        self._num_forced = 0
        self._append(token_id, sample)

    def commit_forced(self, max_tokens: int) -> None:
        """Append tokens, at most so many, that would follow whatever the logits were, to run in one row."""
        while self.finish_reason is None and self._num_forced < max_tokens:
            token_id = self.sampler.forced_token()
            if token_id is None:
                break
            self._num_forced += 1
            self._append(token_id)

    def _append(self, token_id: int, sample: Sample | None = None) -> None:
        request = self.request
        self.ids.append(token_id)
        self.sampler.accept(token_id)
        if sample is not None and sample.logprob is not None:
            self.logprobs.append(TokenLogprob(token_id, sample.logprob, sample.top_logprobs))
        self._unsent += 1
        text = ""
        if token_id in request.stop_token_ids:
            self.finish_reason = "stop"
        else:
            if self._detokenizer is not None:
                text = self._detokenizer.push(token_id)
                if self._stop is not None:
                    text = self._match_stop(text)
            if self.finish_reason is None and request.meets_criterion(self.ids):
                self.finish_reason = "stop"
            if self.finish_reason is None and len(self.ids) == self._max_ids:
                self.finish_reason = "length"
        if self.finish_reason is not None:
            text += self._rest()
        delta = self._take(text)
        if self._is_streamed and (delta or self.finish_reason or request.tokenizer is None):
            self._emit(delta)

    def end(self, reason: FinishReason) -> None:
        """End for a reason that is not the last token: nobody wants more, or there is no room for more."""
        self.finish_reason = reason
        delta = self._take(self._rest())
        if self._is_streamed:
            self._emit(delta)

    def choice(self) -> Choice:
        """Return the ended sequence."""
        assert self.finish_reason is not None
        has_text = self._detokenizer is not None
        answer = self._parts.answer if has_text else self.request.take_apart(self._decode())
        return Choice(
            text=answer.text,
            token_ids=tuple(self.token_ids),
            finish_reason=self.finish_reason,
            logprobs=tuple(self.logprobs) if self.request.config.logprobs else None,
            reasoning=answer.reasoning,
            tool_calls=answer.tool_calls,
            stop_text=self._stop_text,
            cut_call=answer.cut_call,
        )

    @property
    def _stop_text(self) -> str | None:
        if self.finish_reason != "stop":
            return None
        if self._stop is not None and self._stop.matched is not None:
            return self._stop.matched
        return self.request.stop_texts.get(self.ids[-1])

    def _take(self, text: str) -> AnswerDelta:
        """Take text that is settled, and return what it holds."""
        if self._parser is None:
            delta = AnswerDelta(text)
        else:
            delta = self._parser.push(text)
            if self.finish_reason is None and self.request.ends_at_call and self._parser.is_over:
                self.finish_reason = "stop"
            if self.finish_reason is not None:
                delta = delta.plus(self._parser.finish())
        if delta:
            self._parts.add([delta])
        return delta

    def _match_stop(self, text: str) -> str:
        assert self._stop is not None
        found = self._stop.push(text)
        if found.matched is not None:
            self.finish_reason = "stop"
        return found.emit

    def _rest(self) -> str:
        """Return the text that was held back, now that nothing can follow it."""
        if self._detokenizer is None or (self._stop is not None and self._stop.matched is not None):
            return ""
        text = self._detokenizer.finish()
        if self._stop is None:
            return text
        found = self._stop.push(text)
        if found.matched is not None:
            self.finish_reason = "stop"
            return found.emit
        return found.emit + self._stop.finish()

    def _emit(self, delta: AnswerDelta) -> None:
        first = len(self.ids) - self._unsent
        logprobs = None
        if self.request.config.logprobs:
            logprobs = tuple(self.logprobs[len(self.logprobs) - self._unsent :])
        piece = Piece(
            delta.text,
            tuple(self.ids[first:]),
            self.finish_reason,
            logprobs,
            self.index,
            delta.reasoning,
            delta.tool_calls,
        )
        self._unsent = 0
        self.request.emit(piece)

    def _decode(self) -> str:
        if self.request.tokenizer is None:
            return ""
        token_ids = self.token_ids
        if self.finish_reason == "stop" and token_ids and token_ids[-1] in self.request.stop_token_ids:
            token_ids = token_ids[:-1]
        return self.request.tokenizer.decode(token_ids)
