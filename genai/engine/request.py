"""A request and its sequences: everything that one prompt carries through the loop.

A request ends exactly once, with a result or an error. A sequence is one continuation of the prompt and has one slot
of the KV cache while it runs. Neither knows the model; the engine moves them.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from genai.cache import Slot
from genai.config import GenerationConfig
from genai.engine.results import (
    Choice,
    FinishReason,
    GenerationResult,
    GenerationStats,
    Piece,
    TokenLogprob,
)
from genai.sampling import Sample, Sampler
from genai.text import Detokenizer, StopMatcher

__all__ = ["GenerationSequence", "Request", "RequestTokenizer"]


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
    ) -> None:
        self.prompt_token_ids = tuple(prompt_token_ids)
        self.config = config
        self.tokenizer = tokenizer
        self.stream = stream
        self.pieces: deque[Piece] = deque()
        self.on_piece: Callable[[Piece | None], None] | None = None
        self.samplers: list[Sampler] = []
        self.sequences: list[GenerationSequence] = []
        self.result: GenerationResult | None = None
        self.error: BaseException | None = None
        self.is_cancelled = False
        self.cached_prompt_tokens = 0
        eos = eos_token_ids if config.eos_token_ids is None else config.eos_token_ids
        self.eos_token_ids = tuple(eos)
        self.stop_token_ids = frozenset(() if config.ignore_eos else eos) | frozenset(config.stop_token_ids)
        self.seed = secrets.randbits(63) if config.seed is None else config.seed
        self._submitted = time.perf_counter()
        self._first_token: float | None = None

    @property
    def is_beam_search(self) -> bool:
        """Whether its sequences are beams, which advance in lockstep and change places."""
        return self.config.num_beams > 1

    @property
    def num_sequences(self) -> int:
        """Slots that it needs at once."""
        return self.config.num_beams if self.is_beam_search else self.config.num_return_sequences

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
            stream=stream,
            seed=self.seed,
        )

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


class GenerationSequence:
    """One continuation of a request's prompt.

    `ids` are the prompt and all tokens generated so far. The slot holds keys and values of a beginning of them; what
    is missing, but for the last token, has to be prefilled before the sequence can decode.
    """

    def __init__(self, request: Request, index: int, slot: Slot, sampler: Sampler) -> None:
        self.request = request
        self.index = index
        self.slot = slot
        self.sampler = sampler
        self.ids = list(request.prompt_token_ids)
        self.num_prompt = len(self.ids)
        self.finish_reason: FinishReason | None = None
        self.logprobs: list[TokenLogprob] = []
        self._text: list[str] = []
        self._unsent = 0  # tokens since the last piece
        needs_text = request.tokenizer is not None and (request.stream or bool(request.config.stop))
        needs_text = needs_text and not request.is_beam_search
        self._detokenizer = request.tokenizer.detokenizer() if request.tokenizer and needs_text else None
        self._stop = StopMatcher(request.config.stop) if request.config.stop else None
        max_new_tokens = request.config.max_new_tokens
        self._max_ids = None if max_new_tokens is None else self.num_prompt + max_new_tokens

    @property
    def token_ids(self) -> list[int]:
        """The generated tokens."""
        return self.ids[self.num_prompt :]

    @property
    def pending(self) -> list[int]:
        """Tokens to prefill before the last one can be decoded."""
        return self.ids[len(self.slot.token_ids) : -1]

    @property
    def is_ready(self) -> bool:
        """Whether only the last token is missing in the slot."""
        return len(self.slot.token_ids) == len(self.ids) - 1

    def commit(self, token_id: int, sample: Sample | None, *, context_length: int) -> None:
        """Append a token, emit the text that it settles, and end if it ends the sequence."""
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
            if self.finish_reason is None and len(self.ids) in (self._max_ids, context_length):
                self.finish_reason = "length"
        if self.finish_reason is not None:
            text += self._rest()
        if self._detokenizer is not None and text:
            self._text.append(text)
        if request.stream and (text or self.finish_reason or request.tokenizer is None):
            self._emit(text)

    def end(self, reason: FinishReason) -> None:
        """End for a reason that is not the last token: nobody wants more, or there is no room for more."""
        self.finish_reason = reason
        text = self._rest()
        self._text.append(text)
        if self.request.stream and not self.request.is_beam_search:
            self._emit(text)

    def choice(self) -> Choice:
        """Return the ended sequence."""
        assert self.finish_reason is not None
        return Choice(
            text="".join(self._text) if self._detokenizer is not None else self._decode(),
            token_ids=tuple(self.token_ids),
            finish_reason=self.finish_reason,
            logprobs=tuple(self.logprobs) if self.request.config.logprobs else None,
        )

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

    def _emit(self, text: str) -> None:
        first = len(self.ids) - self._unsent
        logprobs = None
        if self.request.config.logprobs:
            logprobs = tuple(self.logprobs[len(self.logprobs) - self._unsent :])
        piece = Piece(text, tuple(self.ids[first:]), self.finish_reason, logprobs, self.index)
        self._unsent = 0
        self.request.emit(piece)

    def _decode(self) -> str:
        if self.request.tokenizer is None:
            return ""
        token_ids = self.token_ids
        if self.finish_reason == "stop" and token_ids and token_ids[-1] in self.request.stop_token_ids:
            token_ids = token_ids[:-1]
        return self.request.tokenizer.decode(token_ids)
