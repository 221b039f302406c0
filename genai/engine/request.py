"""A request: everything that one prompt carries through the loop.

A request ends exactly once, with a result or an error. It knows no model; the engine moves it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from genai.config import GenerationConfig
from genai.engine.results import Choice, GenerationResult, GenerationStats, Piece
from genai.sampling import LogitsProcessor, Sampler
from genai.text import Detokenizer
from genai.tools import Answer, AnswerParser, parse_answer

__all__ = ["Request", "RequestTokenizer"]


class RequestTokenizer(Protocol):
    """What a request needs of a tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the tokens of a text."""
        ...

    def decode(self, token_ids: Sequence[int], /) -> str:
        """Return the text of tokens."""
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
        make_reasoning_limit: Makes what ends one sequence's reasoning; called once per sequence.
        make_parser: Makes what takes one sequence's text apart into text, reasoning and calls; without, all is text.

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
        make_constraint: Callable[[], LogitsProcessor] | None = None,
        make_reasoning_limit: Callable[[], LogitsProcessor] | None = None,
        make_parser: Callable[[], AnswerParser] | None = None,
    ) -> None:
        self.prompt_token_ids = tuple(prompt_token_ids)
        self.config = config
        self.tokenizer = tokenizer
        self.stream = stream
        self.pieces: deque[Piece] = deque()
        self.on_piece: Callable[[Piece | None], None] | None = None
        self.adapter = adapter
        self.make_constraint = make_constraint
        self.make_reasoning_limit = make_reasoning_limit
        self.make_parser = make_parser
        self.result: GenerationResult | None = None
        self.error: BaseException | None = None
        self.is_cancelled = False
        self.cached_prompt_tokens = 0
        self.num_preemptions = 0
        eos = eos_token_ids if config.eos_token_ids is None else config.eos_token_ids
        self.eos_token_ids = tuple(eos)
        self.stop_token_ids = frozenset(() if config.ignore_eos else eos) | frozenset(config.stop_token_ids)
        self.seed = _draw_seed() if config.seed is None else config.seed
        self._submitted = time.perf_counter()
        self._first_token: float | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, with a result or an error."""
        return self.result is not None or self.error is not None

    def make_sampler(self, *, vocab_size: int, stream: int) -> Sampler:
        """Return the sampler of the request's sequence number `stream`."""
        bad_words = []
        if self.tokenizer is not None:
            # A word counts with and without a space before it, as both are tokens of their own.
            texts = {form for word in self.config.bad_words for form in (word, f" {word}")}
            bad_words = [self.tokenizer.encode(text, add_special_tokens=False) for text in sorted(texts)]
        return Sampler(
            self.config,
            vocab_size=vocab_size,
            prompt_token_ids=self.prompt_token_ids,
            eos_token_ids=self.eos_token_ids,
            bad_words_ids=bad_words,
            constraint=None if self.make_constraint is None else self.make_constraint(),
            reasoning_limit=None if self.make_reasoning_limit is None else self.make_reasoning_limit(),
            stream=stream,
            seed=self.seed,
        )

    def take_apart(self, text: str) -> Answer:
        """Return what a whole text holds: in a conversation, text, reasoning and calls."""
        return Answer(text) if self.make_parser is None else parse_answer(self.make_parser(), text)

    def note_first_token(self) -> None:
        """Take the time, if this is the first token."""
        if self._first_token is None:
            self._first_token = time.perf_counter()

    def emit(self, piece: Piece) -> None:
        """Hand a piece to whoever streams."""
        if self.on_piece is not None:
            self.on_piece(piece)
        else:
            self.pieces.append(piece)

    def finish(self, choices: Sequence[Choice]) -> None:
        """End with these sequences, best first."""
        assert not self.is_finished
        best = choices[0]
        self.result = GenerationResult(
            text=best.text,
            token_ids=best.token_ids,
            prompt_token_ids=self.prompt_token_ids,
            finish_reason=best.finish_reason,
            stats=self._stats(sum(len(choice.token_ids) for choice in choices)),
            logprobs=best.logprobs,
            choices=tuple(choices) if self.config.num_return_sequences > 1 else (),
            reasoning=best.reasoning,
            tool_calls=best.tool_calls,
        )
        self._close()

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        assert not self.is_finished
        self.error = error
        self._close()

    def _close(self) -> None:
        if self.on_piece is not None:
            self.on_piece(None)

    def _stats(self, generated_tokens: int) -> GenerationStats:
        now = time.perf_counter()
        first = self._first_token or now
        decoding = now - first
        return GenerationStats(
            prompt_tokens=len(self.prompt_token_ids),
            cached_prompt_tokens=self.cached_prompt_tokens,
            generated_tokens=generated_tokens,
            time_to_first_token_seconds=first - self._submitted,
            total_seconds=now - self._submitted,
            tokens_per_second=(generated_tokens - 1) / decoding
            if generated_tokens > 1 and decoding > 0
            else 0.0,
        )


def _draw_seed() -> int:
    return int.from_bytes(os.urandom(8)) >> 1
