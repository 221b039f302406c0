"""A running generation as an iterator, plain or asynchronous, that can be stopped and that knows its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from genai.engine.pool import EnginePool
from genai.engine.request import Request
from genai.engine.results import GenerationResult, Piece
from genai.engine.times import RequestTimes

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncGenerationStream", "GenerationStream"]


class GenerationStream:
    """The pieces of one request as they come.

    Iterating takes one engine step at a time and looks in between whether anybody wants to stop, so that a signal
    never interrupts a step. Whoever drops the stream before its end cancels it. Beam search, whose text may change
    until the end, comes as one piece at the end.
    """

    def __init__(self, engine: EnginePool, request: Request) -> None:
        self._engine = engine
        self._request = request

    @property
    def result(self) -> GenerationResult | None:
        """How the prompt was continued; None while it runs."""
        return self._request.result

    def cancel(self) -> None:
        """Ask for an end before the next step; safe in a signal handler. What came so far is the result."""
        self._engine.cancel_soon(self._request)

    def close(self) -> None:
        """End now; does nothing if it has ended."""
        self._engine.cancel(self._request)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        request = self._request
        while not request.pieces and not request.is_finished:
            self._engine.advance(request)
        if request.pieces:
            return request.pieces.popleft()
        if request.error is not None:
            raise request.error
        raise StopIteration

    def __del__(self) -> None:
        self._engine.cancel_soon(self._request)


class AsyncGenerationStream:
    """The pieces of one request as they come, for an event loop, while another thread takes the steps.

    It belongs to the event loop that it was made in. Whoever drops it before its end, or is cancelled while waiting for
    a piece, cancels it. Beam search comes as one piece at the end.
    """

    def __init__(self, engine: EnginePool, request: Request, arrived: asyncio.Queue[Piece | None]) -> None:
        self._engine = engine
        self._request = request
        self._arrived = arrived

    @property
    def result(self) -> GenerationResult | None:
        """How the prompt was continued; None while it runs."""
        return self._request.result

    @property
    def times(self) -> RequestTimes:
        """When the request came to each stage, as far as it has come."""
        return self._request.times

    def cancel(self) -> None:
        """Ask for an end before the next step. What came so far is the result."""
        self._engine.cancel_soon(self._request)

    async def aclose(self) -> None:
        """End now; does nothing if it has ended."""
        import asyncio

        if not self._request.is_finished:
            await asyncio.shield(asyncio.to_thread(self._engine.cancel, self._request))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        import asyncio

        try:
            piece = await self._arrived.get()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if piece is not None:
            return piece
        self._arrived.put_nowait(None)  # whoever asks again hears of the end again
        if self._request.error is not None:
            raise self._request.error
        raise StopAsyncIteration

    def __del__(self) -> None:
        self._engine.cancel_soon(self._request)
