"""What a running generation found, as the chunks of OpenAI's event streams (https://platform.openai.com/docs/api-reference/chat-streaming)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from genai.engine import GenerationResult, Piece
from genai.errors import GenaiError
from genai.text import Tokenizer
from genai.tools import SettledCalls, ToolCallDelta
from genai.wire.exchange import AnswerFacts, CompletionRequest, Event
from genai.wire.openai.answers import finish_reason, new_id, usage
from genai.wire.openai.errors import error_body
from genai.wire.openai.logprobs import TextPlaces, chat_logprobs, more_text_logprobs

__all__ = ["CompletionChunks"]


class CompletionChunks:
    """Makes the chunks of one response, whose concatenation is what `completion_body` would say at once.

    A call comes in pieces where it is sure, and otherwise as one chunk, when it is whole: a reader could not take back the
    beginning of one that turns out to be none.

    Args:
        request: The request.
        facts: What the answer says beside what was generated.
        is_chat: Whether it answers a conversation.
        includes_usage: Whether the last chunk is to say what it took.
        tells_reasoning: Whether it has what the model thought.
    """

    def __init__(
        self,
        request: CompletionRequest,
        facts: AnswerFacts,
        *,
        is_chat: bool,
        includes_usage: bool,
        tells_reasoning: bool = True,
    ) -> None:
        self._is_chat = is_chat
        self._tells_reasoning = tells_reasoning
        self._includes_usage = includes_usage
        self._num_choices = request.num_choices
        self._common = {
            "id": new_id(is_chat=is_chat),
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": int(facts.created),
            "model": facts.model,
        }
        self._tokenizer = facts.tokenizer
        self._choices: dict[int, _Choice] = {}

    def begin(self) -> Iterator[Event]:
        """Yield what comes before all pieces: nothing."""
        yield from ()

    def of_piece(self, number: int, piece: Piece) -> Iterator[Event]:
        """Yield what a piece of the answer to the prompt of this number adds to one of the response's choices."""
        index = number * self._num_choices + piece.index
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(self._tokenizer, tells_reasoning=self._tells_reasoning)
            if self._is_chat:
                yield self._chunk(index, {"delta": {"role": "assistant", "content": ""}, "logprobs": None})
        entries = list(choice.chat(piece)) if self._is_chat else [choice.text(piece)]
        reason = choice.finish_reason(piece)
        for place, entry in enumerate(entries, start=1):
            yield self._chunk(index, entry, reason if place == len(entries) else None)

    def end(self, results: Sequence[GenerationResult]) -> Iterator[Event]:
        """Yield what comes behind all pieces: what it cost, where that was asked for."""
        if self._includes_usage:
            yield {**self._common, "choices": [], "usage": usage(results)}

    def fail(self, error: GenaiError) -> Iterator[Event]:
        """Yield what comes last where something went wrong."""
        yield error_body(error)

    def _chunk(self, index: int, entry: dict[str, Any], reason: str | None = None) -> Event:
        chunk = {**self._common, "choices": [{"index": index, **entry, "finish_reason": reason}]}
        return {**chunk, "usage": None} if self._includes_usage else chunk


class _Choice:
    """One of the answers while it comes: its calls, and where its text has got to."""

    def __init__(self, tokenizer: Callable[[], Tokenizer], *, tells_reasoning: bool) -> None:
        self._tokenizer = tokenizer
        self._tells_reasoning = tells_reasoning
        self._places: TextPlaces | None = None
        self._calls = SettledCalls()

    def chat(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """Yield the deltas of a message, if there is anything to say; each piece of a call has one of its own."""
        delta: dict[str, Any] = {}
        if piece.reasoning and self._tells_reasoning:
            delta["reasoning"] = piece.reasoning
        if piece.text:
            delta["content"] = piece.text
        settled = self._calls.push(piece.tool_calls, is_finished=piece.finish_reason is not None)
        calls = [{"tool_calls": [_call_chunk(call)]} for call in settled if not call.is_cut]
        logprobs = None if piece.logprobs is None else chat_logprobs(piece.logprobs, self._tokenizer())
        if delta or logprobs or (piece.finish_reason and not calls):
            yield {"delta": delta, "logprobs": logprobs}
        for call in calls:
            yield {"delta": call, "logprobs": None}

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
        return finish_reason(piece.finish_reason, has_called=bool(self._calls.num_whole))


def _call_chunk(delta: ToolCallDelta) -> dict[str, Any]:
    if delta.name is None:
        return {"index": delta.index, "function": {"arguments": delta.arguments}}
    return {
        "index": delta.index,
        "id": delta.id,
        "type": "function",
        "function": {"name": delta.name, "arguments": delta.arguments},
    }
