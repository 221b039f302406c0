"""A response while it comes, as events (https://platform.openai.com/docs/api-reference/responses-streaming)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from genai.engine import FinishReason, GenerationResult, Piece
from genai.errors import GenaiError
from genai.tools import SettledCalls, ToolCallDelta
from genai.wire.exchange import AnswerFacts, Event
from genai.wire.openai.errors import error_body
from genai.wire.openai.logprobs import chat_logprobs
from genai.wire.openai.responses.items import CallItem, MessageItem, OutputItem, ReasoningItem, Status
from genai.wire.openai.responses.requests import ResponseSettings

__all__ = ["ResponseEvents"]

_Item = TypeVar("_Item", bound=OutputItem)
_STATUS = {"stop": "completed", "length": "incomplete", "cancelled": "cancelled"}


class ResponseEvents:
    """Makes the events of one response, the last of which says all of it.

    An item has ended when the next begins: text behind a call is another message.

    Args:
        settings: What the answer says of what was asked for.
        facts: What else it says beside what was generated.
    """

    def __init__(self, settings: ResponseSettings, facts: AnswerFacts) -> None:
        self._settings = settings
        self._facts = facts
        self._id = f"resp_{uuid.uuid4().hex}"
        self._num_events = 0
        self._items: list[OutputItem] = []
        self._calls = SettledCalls()
        self._unsaid: list[dict[str, Any]] = []  # log-probabilities of tokens that no text was told of
        self._finish_reason: FinishReason = "stop"

    def begin(self) -> Iterator[Event]:
        """Yield what comes before all pieces."""
        for kind in ("response.created", "response.in_progress"):
            yield from self._numbered([{"type": kind, "response": self._response("in_progress")}])

    def of_piece(self, _number: int, piece: Piece) -> Iterator[Event]:
        """Yield what a piece of the answer adds."""
        yield from self._numbered(self._of_piece(piece))

    def end(self, results: Sequence[GenerationResult]) -> Iterator[Event]:
        """Yield what comes behind all pieces: the whole response."""
        yield from self._numbered(self._end(results))

    def fail(self, error: GenaiError) -> Iterator[Event]:
        """Yield what comes last where something went wrong."""
        told = error_body(error)["error"]
        failure = {"code": told["code"] or "server_error", "message": told["message"]}
        response = {**self._response("failed"), "error": failure}
        yield from self._numbered(
            [
                {"type": "error", **failure, "param": told["param"]},
                {"type": "response.failed", "response": response},
            ]
        )

    def _numbered(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            yield {**event, "sequence_number": self._num_events}
            self._num_events += 1

    def _of_piece(self, piece: Piece) -> Iterator[Event]:
        if piece.logprobs:
            self._unsaid += chat_logprobs(piece.logprobs, self._facts.tokenizer())["content"]
        if piece.reasoning:
            thought = self._last_of(ReasoningItem)
            if thought is None:
                thought = ReasoningItem(len(self._items), is_packed=self._settings.packs_reasoning)
                yield from self._go_on_with(thought)
            yield thought.add(piece.reasoning)
        if piece.text:
            message = self._last_of(MessageItem)
            if message is None:
                message = MessageItem(len(self._items))
                yield from self._go_on_with(message)
            scores, self._unsaid = self._unsaid, []
            yield message.add_scored(piece.text, scores)
        for delta in self._calls.push(piece.tool_calls, is_finished=piece.finish_reason is not None):
            yield from self._of_call(delta)
        if piece.finish_reason is not None:
            self._finish_reason = piece.finish_reason

    def _of_call(self, delta: ToolCallDelta) -> Iterator[Event]:
        if delta.name is not None:
            item = CallItem(len(self._items), call_id=delta.id or "", name=delta.name)
            yield from self._go_on_with(item)
            return
        call = self._last_of(CallItem)
        assert call is not None
        if delta.arguments:
            yield call.add(delta.arguments)
        if delta.is_cut:
            yield from call.end("incomplete")

    def _last_of(self, kind: type[_Item]) -> _Item | None:
        """Return the item that is coming, if it is of this kind."""
        last = self._items[-1] if self._items else None
        return last if isinstance(last, kind) and last.status == "in_progress" else None

    def _go_on_with(self, item: OutputItem) -> Iterator[Event]:
        yield from self._end_last("completed")
        self._items.append(item)
        yield from item.begin()

    def _end_last(self, status: Status) -> Iterator[Event]:
        if self._items and self._items[-1].status == "in_progress":
            yield from self._items[-1].end(status)

    def _end(self, results: Sequence[GenerationResult]) -> Iterator[Event]:
        reason = self._finish_reason
        if not self._items:
            yield from self._go_on_with(MessageItem(0))
        if (message := self._last_of(MessageItem)) is not None:
            message.add_scores(self._unsaid)
        is_whole = reason == "stop" or self._last_of(CallItem) is not None
        yield from self._end_last("completed" if is_whole else "incomplete")
        response = {**self._response(_STATUS[reason]), "usage": self._usage(results)}
        kind = "response.incomplete" if reason == "length" else "response.completed"
        yield {"type": kind, "response": response}

    def _response(self, status: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": int(self._facts.created),
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self._facts.model,
            "output": [item.body for item in self._items],
            "usage": None,
            **self._settings.told,
        }

    def _usage(self, results: Sequence[GenerationResult]) -> dict[str, Any]:
        (stats,) = [result.stats for result in results]
        thoughts = "".join(item.text for item in self._items if isinstance(item, ReasoningItem))
        thought = self._facts.tokenizer().encode(thoughts, add_special_tokens=False) if thoughts else []
        return {
            "input_tokens": stats.prompt_tokens,
            "input_tokens_details": {"cached_tokens": stats.cached_prompt_tokens, "cache_write_tokens": 0},
            "output_tokens": stats.generated_tokens,
            "output_tokens_details": {"reasoning_tokens": min(len(thought), stats.generated_tokens)},
            "total_tokens": stats.prompt_tokens + stats.generated_tokens,
        }
