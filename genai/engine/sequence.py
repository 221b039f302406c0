"""One continuation of a prompt: its tokens, the text that they have settled, and its slot of the KV cache."""

from __future__ import annotations

from genai.cache import Slot
from genai.engine.request import Request
from genai.engine.results import Choice, FinishReason, Piece, TokenLogprob
from genai.sampling import Sample, Sampler
from genai.text import StopMatcher
from genai.tools import AnswerDelta, AnswerParts

__all__ = ["GenerationSequence"]


class GenerationSequence:
    """One continuation of a request's prompt.

    `ids` are the prompt and all tokens generated so far. While it runs it owns a slot, which holds keys and values of
    a beginning of them; what is missing, but for the last token, has to be prefilled before the sequence can decode.

    Args:
        request: Whose it is.
        index: Which of the request's sequences.
        sampler: Chooses its tokens.
        max_length: Most tokens, prompt included, that the model takes.
        is_final: Whether its tokens stay as they are committed; a beam's text is told only at the end.
    """

    def __init__(
        self, request: Request, index: int, sampler: Sampler, *, max_length: int, is_final: bool = True
    ) -> None:
        self.request = request
        self.index = index
        self.sampler = sampler
        self.ids = list(request.prompt_token_ids)
        self.num_prompt = len(self.ids)
        self.finish_reason: FinishReason | None = None
        self.logprobs: list[TokenLogprob] = []
        self._parts = AnswerParts()
        self._unsent = 0  # tokens since the last piece
        config, tokenizer = request.config, request.tokenizer
        self._is_streamed = request.stream and is_final
        needs_text = (request.stream or bool(config.stop)) and is_final
        self._detokenizer = tokenizer.detokenizer() if tokenizer is not None and needs_text else None
        self._stop = StopMatcher(config.stop) if config.stop else None
        is_parsed = self._detokenizer is not None and request.make_parser is not None
        self._parser = request.make_parser() if is_parsed and request.make_parser is not None else None
        self._slot: Slot | None = None
        self._max_ids = max_length
        if config.max_new_tokens is not None:
            self._max_ids = min(max_length, self.num_prompt + config.max_new_tokens)

    @property
    def slot(self) -> Slot:
        """Its slot, while it runs."""
        assert self._slot is not None
        return self._slot

    @slot.setter
    def slot(self, slot: Slot | None) -> None:
        self._slot = slot

    @property
    def has_slot(self) -> bool:
        """Whether it runs."""
        return self._slot is not None

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
        """Whether it has a slot, in which only the last token is missing."""
        return self._slot is not None and len(self._slot.token_ids) == len(self.ids) - 1

    @property
    def is_nearly_full(self) -> bool:
        """Whether there is room for one more token only."""
        return len(self.ids) + 1 >= self._max_ids

    def commit(self, token_id: int, sample: Sample | None = None) -> None:
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
        )

    def _take(self, text: str) -> AnswerDelta:
        """Take text that is settled, and return what it holds."""
        if self._parser is None:
            delta = AnswerDelta(text)
        else:
            delta = self._parser.push(text)
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
