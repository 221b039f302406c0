"""What a running generation found, as the events of Anthropic's streams (https://docs.anthropic.com/en/docs/build-with-claude/streaming)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from genai.engine import GenerationResult, Piece
from genai.errors import GenaiError
from genai.tools import SettledCalls
from genai.wire.anthropic.answers import empty_message, stop_of, text_block, thinking_block, usage
from genai.wire.anthropic.errors import error_body
from genai.wire.exchange import AnswerFacts, Event

__all__ = ["MessageEvents"]


class MessageEvents:
    """Makes the events of one answer, whose blocks together say what `message_body` would at once.

    Blocks follow one another: where a model goes from one kind to another and back, there are several of a kind. Of a call in
    which the answer ends the stream has what came of the input, and the whole answer what is whole of that.

    Args:
        facts: What the answer says beside what was generated.
    """

    def __init__(self, facts: AnswerFacts) -> None:
        self._facts = facts
        self._calls = SettledCalls()
        self._index = -1
        self._open: str | None = None  # the type of the block that has begun and not ended

    def begin(self) -> Iterator[Event]:
        """Yield the message before it has content."""
        yield {"type": "message_start", "message": empty_message(self._facts)}
        yield {"type": "ping"}

    def of_piece(self, number: int, piece: Piece) -> Iterator[Event]:  # noqa: ARG002 - there is one prompt
        """Yield what a piece adds to the last block, and blocks that begin and end with it."""
        if piece.reasoning:
            yield from self._go_on(thinking_block(""))
            yield self._delta({"type": "thinking_delta", "thinking": piece.reasoning})
        if piece.text:
            yield from self._go_on(text_block(""))
            yield self._delta({"type": "text_delta", "text": piece.text})
        for call in self._calls.push(piece.tool_calls, is_finished=piece.finish_reason is not None):
            if call.name is not None:
                yield from self._stop()
                yield from self._go_on({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
            elif call.arguments:
                yield self._delta({"type": "input_json_delta", "partial_json": call.arguments})

    def end(self, results: Sequence[GenerationResult]) -> Iterator[Event]:
        """Yield why the answer has ended, and what it took."""
        (result,) = results
        yield from self._stop()
        yield {"type": "message_delta", "delta": stop_of(result), "usage": usage(result)}
        yield {"type": "message_stop"}

    def fail(self, error: GenaiError) -> Iterator[Event]:
        """Yield what comes last where something went wrong."""
        yield error_body(error)

    def _go_on(self, block: dict[str, Any]) -> Iterator[Event]:
        """Begin a block, unless one of its type is open."""
        if self._open == block["type"]:
            return
        yield from self._stop()
        self._index += 1
        self._open = block["type"]
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _stop(self) -> Iterator[Event]:
        if self._open is not None:
            self._open = None
            yield {"type": "content_block_stop", "index": self._index}

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}
