"""The answers of a conversation in which functions are called, as iterators over all of them, plain or asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar

from genai.engine import AsyncGenerationStream, GenerationResult, GenerationStream, Piece, Request
from genai.tool_rounds import ToolRounds

__all__ = ["AsyncChatStream", "ChatStream"]

_Stream = TypeVar("_Stream", bound=GenerationStream | AsyncGenerationStream)


class _Answers(Generic[_Stream]):
    """The answers of a conversation one after another: which is running, and what came of all."""

    def __init__(self, rounds: ToolRounds, submit: Callable[[Request], _Stream]) -> None:
        self._rounds = rounds
        self._submit = submit
        self._stream: _Stream = submit(rounds.first())
        self._result: GenerationResult | None = None

    @property
    def result(self) -> GenerationResult | None:
        """The last answer, with all that was added to the conversation as `messages`; None while it runs."""
        if self._result is None and self._rounds.is_stopped and self._stream.result is not None:
            return self._rounds.finish(self._stream.result)
        return self._result

    def cancel(self) -> None:
        """Ask for an end before the next step or call; safe in a signal handler. What came so far is the result."""
        self._rounds.stop()
        self._stream.cancel()

    @property
    def _ended(self) -> GenerationResult | None:
        """The answer that has ended and may go on with what its calls return; None where all has ended."""
        return self._stream.result if self._result is None else None

    def _goes_on(self, ended: GenerationResult | None, request: Request | None) -> bool:
        """Take up the request that follows an answer, or what came of all where none does."""
        if request is None:
            if ended is not None:
                self._result = self._rounds.finish(ended)
            return False
        self._stream = self._submit(request)
        if self._rounds.is_stopped:  # before there was anything to cancel
            self._stream.cancel()
        return True


class ChatStream(_Answers[GenerationStream]):
    """The pieces of all answers of a conversation, as they come; functions are called between two answers.

    Used as a `GenerationStream` is. The last piece of each answer has a `finish_reason`; indices of calls begin anew with
    each. Whoever drops the stream before its end cancels it.
    """

    def close(self) -> None:
        """End now, or after the function that is running; does nothing if it has ended."""
        self._rounds.stop()
        self._stream.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        while (piece := next(self._stream, None)) is None:
            ended = self._ended
            if not self._goes_on(ended, None if ended is None else self._rounds.after(ended)):
                raise StopIteration
        return piece


class AsyncChatStream(_Answers[AsyncGenerationStream]):
    """The pieces of all answers of a conversation, for an event loop; functions run in a thread between two answers.

    Used as an `AsyncGenerationStream` is; otherwise as `ChatStream`.
    """

    async def aclose(self) -> None:
        """End now, without waiting for a function that is running; does nothing if it has ended."""
        self._rounds.stop()
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        while (piece := await anext(self._stream, None)) is None:
            ended = self._ended
            if not self._goes_on(ended, None if ended is None else await self._rounds.after_in_thread(ended)):
                raise StopAsyncIteration
        return piece
