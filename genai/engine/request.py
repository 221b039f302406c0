"""A request: everything that one prompt carries through the loop.

A request ends exactly once, with a result or an error. It knows no model; the engine moves it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from genai.config import GenerationConfig
from genai.engine.results import Choice, GenerationResult, GenerationStats, Piece, TokenLogprob
from genai.engine.times import RequestTimes
from genai.errors import GenerationError
from genai.sampling import Constraint, LogitsProcessor, Sampler
from genai.text import Detokenizer
from genai.tools import Answer, AnswerReader, parse_answer

__all__ = ["Request", "RequestTokenizer"]


class RequestTokenizer(Protocol):
    """What a request needs of a tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the tokens of a text."""
        ...

    def decode(self, token_ids: Sequence[int], /) -> str:
        """Return the text of tokens."""
        ...

    def overlapping(self, text: str, /) -> Sequence[tuple[int, ...]]:
        """Return the token sequences that a text may be part of, each as short as can be."""
        ...

    def detokenizer(self) -> Detokenizer:
        """Return a fresh streaming detokenizer."""
        ...


class Request:
    """One prompt, its options, and what became of it.

    Args:
        prompt_token_ids: The prompt; not empty.
        config: The options.
        tokenizer: Turns tokens into text; None leaves all texts empty.
        eos_token_ids: The model's end-of-sequence ids, unless the options name others.
        stream: Whether pieces are wanted as they come.
        adapter: The adapter that it is computed with; None is the model without one.
        make_constraint: Makes what masks the logits of one sequence, such as a grammar; called once per sequence.
        parse: Reads what a text stands for that has stopped by itself; called when somebody first asks for the result.
        make_reasoning_limit: Makes what ends one sequence's reasoning; called once per sequence.
        make_parser: Makes what takes one sequence's text apart into text, reasoning and calls; without, all is text.
        ends_at_call: Whether a sequence ends where its parser wants no more, since it has read the only call.
        stop_texts: Those of `stop_token_ids` that stand for a text that was to end the answer, with that text.
        priority: Who goes first, where not all can run at once: the lower.
        client: Whom it is served to; where not all can run at once, clients get equal shares.

    Pieces gather in `pieces`. Where `on_piece` is set, it is called instead with each piece, and with None when the
    request has ended, in the thread that runs the step.
    """

    def __init__(
        self,
        prompt_token_ids: Sequence[int],
        config: GenerationConfig,
        *,
        tokenizer: RequestTokenizer | None = None,
        eos_token_ids: Sequence[int] = (),
        stream: bool = False,
        adapter: str | None = None,
        make_constraint: Callable[[], Constraint] | None = None,
        parse: Callable[[str], Any] | None = None,
        make_reasoning_limit: Callable[[], LogitsProcessor] | None = None,
        make_parser: Callable[[], AnswerReader] | None = None,
        ends_at_call: bool = False,
        stop_texts: Mapping[int, str] | None = None,
        priority: int = 0,
        client: str | None = None,
    ) -> None:
        self.prompt_token_ids = tuple(prompt_token_ids)
        self.config = config
        self.tokenizer = tokenizer
        self.negative_token_ids = self._encode_negative() if config.guidance_scale != 1 else ()
        self.stream = stream
        self.pieces: deque[Piece] = deque()
        self.on_piece: Callable[[Piece | None], None] | None = None
        self.adapter = adapter
        self.make_constraint = make_constraint
        self._parse = parse
        self._result: GenerationResult | None = None
        self.make_reasoning_limit = make_reasoning_limit
        self.make_parser = make_parser
        self.priority = priority
        self.client = client
        self.ends_at_call = ends_at_call
        self.error: BaseException | None = None
        self.is_cancelled = False
        self.cached_prompt_tokens = 0
        self.prompt_logprobs: list[TokenLogprob] = []  # of the tokens after the first
        self.num_discarded_tokens = 0  # of sequences that are not returned
        self._echoed: set[int] = set()
        self.num_preemptions = 0
        self.drafted_tokens = self.accepted_tokens = 0
        eos = eos_token_ids if config.eos_token_ids is None else config.eos_token_ids
        self.eos_token_ids = tuple(eos)
        self.stop_texts = stop_texts or {}
        self.stop_token_ids = frozenset(() if config.ignore_eos else eos) | frozenset(config.stop_token_ids)
        self.seed = _draw_seed() if config.seed is None else config.seed
        self.times = RequestTimes()

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, with a result or an error."""
        return self._result is not None or self.error is not None

    @property
    def result(self) -> GenerationResult | None:
        """What it ended with; None while it runs, and where it ended with an error.

        Raises:
            GenerationError: What the text stands for cannot be read.
        """
        if self._result is not None and self._parse is not None:
            parse, result = self._parse, self._result
            begin = len(self._prompt_text) if self.config.echo else 0

            def read(each: Choice | GenerationResult) -> Any:
                return parse(each.text[begin:]) if each.finish_reason == "stop" else None

            choices = tuple(replace(each, parsed=read(each)) for each in result.choices)
            self._result, self._parse = replace(result, parsed=read(result), choices=choices), None
        return self._result

    @property
    def num_draws(self) -> int:
        """How many sequences are drawn, where they are not searched."""
        return self.config.best_of or self.config.num_return_sequences

    @property
    def shifts(self) -> bool:
        """Whether it goes on where the context is full."""
        return self.config.context_policy == "shift"

    def make_sampler(self, *, vocab_size: int, stream: int, max_length: int) -> Sampler:
        """Return the sampler of the request's sequence number `stream`.

        Args:
            vocab_size: Number of logits.
            stream: Which of the request's sequences it is.
            max_length: Most tokens, prompt included, that the model takes.
        """
        breakers = []
        bad_words: list[Sequence[int]] = [word for word in self.config.bad_words if not isinstance(word, str)]
        if self.tokenizer is not None:
            if self.config.dry_multiplier:
                breakers = [
                    ids
                    for text in self.config.dry_sequence_breakers
                    for ids in self.tokenizer.overlapping(text)
                ]
            # A word counts with and without a space before it, as both are tokens of their own.
            words = [word for word in self.config.bad_words if isinstance(word, str)]
            texts = {form for word in words for form in (word, f" {word}")}
            bad_words += [self.tokenizer.encode(text, add_special_tokens=False) for text in sorted(texts)]
        return Sampler(
            self.config,
            vocab_size=vocab_size,
            prompt_token_ids=self.prompt_token_ids,
            eos_token_ids=self.eos_token_ids,
            bad_words_ids=bad_words,
            dry_breaker_ids=breakers,
            max_new_tokens=self.max_new_tokens(max_length),
            constraint=None if self.make_constraint is None else self.make_constraint(),
            reasoning_limit=None if self.make_reasoning_limit is None else self.make_reasoning_limit(),
            stream=stream,
            seed=self.seed,
        )

    @property
    def is_overdue(self) -> bool:
        """Whether it has taken all the time that it may."""
        return self.deadline is not None and time.perf_counter() >= self.deadline

    @property
    def deadline(self) -> float | None:
        """When it has taken all the time that it may, as `time.perf_counter` has it."""
        limit = self.config.max_time
        return None if limit is None else self.times.submitted + limit

    def meets_criterion(self, token_ids: Sequence[int]) -> bool:
        """Whether one of the caller's functions wants a sequence, prompt included, to end here.

        Raises:
            GenerationError: A function failed.
        """
        criteria = self.config.stopping_criteria
        if not criteria:
            return False
        tokens = np.array(token_ids, np.int64)
        for criterion in criteria:
            try:
                if criterion(tokens):
                    return True
            except Exception as error:  # whatever a caller's function raises ends this request alone
                name = getattr(criterion, "__name__", repr(criterion))
                raise GenerationError(f"stopping_criteria: {name} failed: {error!r}") from error
        return False

    def max_new_tokens(self, max_length: int) -> int:
        """Return the most tokens that a sequence of it gets, where the model takes so many, prompt included."""
        limit = self.config.max_new_tokens
        if self.shifts:
            return sys.maxsize if limit is None else limit
        room = max_length - max(len(self.prompt_token_ids), len(self.negative_token_ids))
        return room if limit is None else min(limit, room)

    def take_apart(self, text: str) -> Answer:
        """Return what a whole text holds: in a conversation, text, reasoning and calls."""
        return Answer(text) if self.make_parser is None else parse_answer(self.make_parser(), text)

    def emit(self, piece: Piece) -> None:
        """Hand a piece to whoever streams."""
        if self.config.echo and piece.index not in self._echoed:
            self._echoed.add(piece.index)
            piece = dataclasses.replace(piece, text=self._prompt_text + piece.text)
        if self.on_piece is not None:
            self.on_piece(piece)
        else:
            self.pieces.append(piece)

    def finish(self, choices: Sequence[Choice]) -> None:
        """End with these sequences, best first."""
        assert not self.is_finished
        if self.config.echo:
            choices = [dataclasses.replace(each, text=self._prompt_text + each.text) for each in choices]
        best = choices[0]
        is_scored = self.config.prompt_logprobs is not None
        self._result = GenerationResult(
            text=best.text,
            token_ids=best.token_ids,
            prompt_token_ids=self.prompt_token_ids,
            finish_reason=best.finish_reason,
            stats=self._stats(sum(len(choice.token_ids) for choice in choices) + self.num_discarded_tokens),
            logprobs=best.logprobs,
            choices=tuple(choices) if self.config.num_return_sequences > 1 else (),
            prompt_logprobs=(None, *self.prompt_logprobs) if is_scored else None,
            reasoning=best.reasoning,
            tool_calls=best.tool_calls,
            stop_text=best.stop_text,
            cut_call=best.cut_call,
        )
        self._close()

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        assert not self.is_finished
        self.error = error
        self.times.note_end()
        self._close()

    def _encode_negative(self) -> tuple[int, ...]:
        """Return what takes the prompt's place in guidance."""
        negative: str | Sequence[int] | None = self.config.negative_prompt
        if isinstance(negative, str):
            negative = self.tokenizer.encode(negative) if self.tokenizer is not None else ()
        return tuple(negative or self.prompt_token_ids[-1:])

    @cached_property
    def _prompt_text(self) -> str:
        return self.tokenizer.decode(self.prompt_token_ids) if self.tokenizer is not None else ""

    def _close(self) -> None:
        if self.on_piece is not None:
            self.on_piece(None)

    def _stats(self, generated_tokens: int) -> GenerationStats:
        submitted, ended = self.times.submitted, self.times.note_end()
        first = self.times.first_token or ended
        decoding = ended - first
        return GenerationStats(
            prompt_tokens=len(self.prompt_token_ids),
            cached_prompt_tokens=self.cached_prompt_tokens,
            generated_tokens=generated_tokens,
            time_to_first_token_seconds=first - submitted,
            total_seconds=ended - submitted,
            tokens_per_second=(generated_tokens - 1) / decoding
            if generated_tokens > 1 and decoding > 0
            else 0.0,
            drafted_tokens=self.drafted_tokens,
            accepted_tokens=self.accepted_tokens,
            queue_seconds=(self.times.admitted or ended) - submitted,
        )


def _draw_seed() -> int:
    return int.from_bytes(os.urandom(8)) >> 1
