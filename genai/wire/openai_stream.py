"""What a running generation found, as the chunks of OpenAI's event streams (https://platform.openai.com/docs/api-reference/chat-streaming)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from genai.engine import GenerationResult, Piece
from genai.text import Tokenizer
from genai.tools import ToolCallDelta
from genai.wire.openai_logprobs import TextPlaces, chat_logprobs, more_text_logprobs
from genai.wire.openai_requests import CHAT, CompletionRequest
from genai.wire.openai_responses import finish_reason, new_id, usage

__all__ = ["CompletionChunks"]


class CompletionChunks:
    """Makes the chunks of one response, whose concatenation is what `completion_body` would say at once.

    A call comes as one chunk, when it is whole: a reader could not take back the beginning of one that turns out to be none.

    Args:
        request: The request.
        model: What the model is called.
        created: When it was asked for, in seconds since 1970.
        tokenizer: Returns the model's; called where log-probabilities were asked for.
    """

    def __init__(
        self, request: CompletionRequest, *, model: str, created: int, tokenizer: Callable[[], Tokenizer]
    ) -> None:
        self._is_chat = request.endpoint == CHAT
        self._includes_usage = request.includes_usage
        self._common = {
            "id": new_id(request.endpoint),
            "object": "chat.completion.chunk" if self._is_chat else "text_completion",
            "created": created,
            "model": model,
        }
        self._tokenizer = tokenizer
        self._choices: dict[int, _Choice] = {}

    def of_piece(self, index: int, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield what one piece adds to one of the response's choices."""
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(self._tokenizer)
            if self._is_chat:
                yield self._chunk(index, {"delta": {"role": "assistant", "content": ""}, "logprobs": None})
        entry = choice.chat(piece) if self._is_chat else choice.text(piece)
        if entry is not None:
            yield self._chunk(index, entry, choice.finish_reason(piece))

    def end(self, results: Sequence[GenerationResult]) -> Iterator[dict[str, Any]]:
        """Yield what comes behind all pieces: what it cost, where that was asked for."""
        if self._includes_usage:
            yield {**self._common, "choices": [], "usage": usage(results)}

    def _chunk(self, index: int, entry: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        chunk = {**self._common, "choices": [{"index": index, **entry, "finish_reason": reason}]}
        return {**chunk, "usage": None} if self._includes_usage else chunk


class _Choice:
    """One of the answers while it comes: its calls that are not whole, and where its text has got to."""

    def __init__(self, tokenizer: Callable[[], Tokenizer]) -> None:
        self._tokenizer = tokenizer
        self._places: TextPlaces | None = None
        self._pending: dict[int, list[ToolCallDelta]] = {}
        self._has_called = False

    def chat(self, piece: Piece) -> dict[str, Any] | None:
        """Return the delta of a message; `None` where there is nothing to say."""
        delta: dict[str, Any] = {}
        if piece.reasoning:
            delta["reasoning"] = piece.reasoning
        if piece.text:
            delta["content"] = piece.text
        if calls := self._whole_calls(piece):
            delta["tool_calls"] = calls
        if not delta and not piece.finish_reason and not piece.logprobs:
            return None
        logprobs = None if piece.logprobs is None else chat_logprobs(piece.logprobs, self._tokenizer())
        return {"delta": delta, "logprobs": logprobs}

    def text(self, piece: Piece) -> dict[str, Any]:
        """Return more of a text."""
        logprobs = None
        if piece.logprobs is not None:
            self._places = self._places or TextPlaces(self._tokenizer())
            logprobs = more_text_logprobs(piece.logprobs, self._tokenizer(), self._places)
        return {"text": piece.text, "logprobs": logprobs}

    def finish_reason(self, piece: Piece) -> str | None:
        """Return why the answer has ended, if it has."""
        if piece.finish_reason is None:
            return None
        return finish_reason(piece.finish_reason, has_called=self._has_called)

    def _whole_calls(self, piece: Piece) -> list[dict[str, Any]]:
        """Take in pieces of calls, and take out the calls that are whole: all but the last, until the answer ends."""
        for call in piece.tool_calls:
            if call.is_withdrawn:
                self._pending.pop(call.index, None)
            else:
                self._pending.setdefault(call.index, []).append(call)
        last = max(self._pending, default=0)
        whole = [index for index in self._pending if piece.finish_reason is not None or index < last]
        self._has_called |= bool(whole)
        return [_call(index, self._pending.pop(index)) for index in whole]


def _call(index: int, deltas: Sequence[ToolCallDelta]) -> dict[str, Any]:
    first = deltas[0]
    arguments = "".join(each.arguments for each in deltas)
    return {
        "index": index,
        "id": first.id,
        "type": "function",
        "function": {"name": first.name, "arguments": arguments},
    }
