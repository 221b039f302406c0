"""The answers of a conversation in which functions are called, as iterators over all of them, plain or asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from genai.engine import AsyncGenerationStream, GenerationResult, GenerationStream, Piece, Request
from genai.tool_rounds import ToolRounds

__all__ = ["AsyncChatStream", "ChatStream"]


class ChatStream:
    """The pieces of all answers of a conversation, as they come; functions are called between two answers.

    Used as a `GenerationStream` is. The last piece of each answer has a `finish_reason`; indices of calls begin anew with
    each. Whoever drops the stream before its end cancels it.
    """

    def __init__(self, rounds: ToolRounds, submit: Callable[[Request], GenerationStream]) -> None:
        self._rounds = rounds
        self._submit = submit
        self._stream = submit(rounds.first())
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

    def close(self) -> None:
        """End now, or after the function that is running; does nothing if it has ended."""
        self._rounds.stop()
        self._stream.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        while True:
            piece = next(self._stream, None)
            if piece is not None:
                return piece
            ended = self._stream.result
            request = None if self._result is not None or ended is None else self._rounds.after(ended)
            if request is None:
                if self._result is None and ended is not None:
                    self._result = self._rounds.finish(ended)
                raise StopIteration
            self._stream = self._submit(request)
            if self._rounds.is_stopped:  # before there was anything to cancel
                self._stream.cancel()


class AsyncChatStream:
    """The pieces of all answers of a conversation, for an event loop; functions run in a thread between two answers.

    Used as an `AsyncGenerationStream` is; otherwise as `ChatStream`.
    """

    def __init__(self, rounds: ToolRounds, submit: Callable[[Request], AsyncGenerationStream]) -> None:
        self._rounds = rounds
        self._submit = submit
        self._stream = submit(rounds.first())
        self._result: GenerationResult | None = None

    @property
    def result(self) -> GenerationResult | None:
        """The last answer, with all that was added to the conversation as `messages`; None while it runs."""
        if self._result is None and self._rounds.is_stopped and self._stream.result is not None:
            return self._rounds.finish(self._stream.result)
        return self._result

    def cancel(self) -> None:
        """Ask for an end before the next step or call. What came so far is the result."""
        self._rounds.stop()
        self._stream.cancel()

    async def aclose(self) -> None:
        """End now, without waiting for a function that is running; does nothing if it has ended."""
        self._rounds.stop()
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        while True:
            piece = await anext(self._stream, None)
            if piece is not None:
                return piece
            ended = self._stream.result
            request = (
                None
                if self._result is not None or ended is None
                else await self._rounds.after_in_thread(ended)
            )
            if request is None:
                if self._result is None and ended is not None:
                    self._result = self._rounds.finish(ended)
                raise StopAsyncIteration
            self._stream = self._submit(request)
            if self._rounds.is_stopped:  # before there was anything to cancel
                self._stream.cancel()
