"""Requests that came over the wire, carried out by a generator: whole, or as pieces while they come.

Knows neither files nor sockets: `genai batch` and the server ask alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

from genai.engine import AsyncGenerationStream, GenerationResult, Piece
from genai.errors import OptionError
from genai.generator import Generator
from genai.wire import CompletionRequest

__all__ = ["Answering"]


@dataclass(slots=True)
class Answering:
    """A request while it is answered; made by `begin`, and to be closed by whoever made it.

    Args:
        streams: One for each of its prompts.
        num_prompt_tokens: Tokens of all of them.
    """

    streams: list[AsyncGenerationStream] = field(default_factory=list)
    num_prompt_tokens: int = 0

    @classmethod
    async def begin(
        cls, generator: Generator, request: CompletionRequest, *, client: str | None = None
    ) -> Self:
        """Queue all prompts of a request.

        Args:
            generator: Who answers.
            request: What is asked.
            client: Whom it is for, as `Generator.build_request` takes it.

        Raises:
            GenaiError: One of them cannot be carried out; then none is.
        """
        answering = cls()
        try:
            _check_context(request, generator.context_length)
            built = await asyncio.to_thread(
                lambda: [
                    generator.build_request(
                        **request.arguments(prompt, lambda: generator.tokenizer),
                        stream=request.stream,
                        client=client,
                    )
                    for prompt in request.prompts
                ]
            )
            for each in built:
                answering.streams.append(generator.asubmit(each))
                answering.num_prompt_tokens += len(each.prompt_token_ids)
        except BaseException as error:
            answering.cancel()
            if isinstance(error, OptionError):
                raise request.in_its_words(error) from error
            raise
        return answering

    async def results(self) -> list[GenerationResult]:
        """Wait for the end of all.

        Raises:
            GenaiError: One of them failed.
        """
        async for _ in self.pieces():
            pass
        return self.finished

    @property
    def finished(self) -> list[GenerationResult]:
        """How the prompts that have ended were continued, in order."""
        return [stream.result for stream in self.streams if stream.result is not None]

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yield the number of a prompt with a piece of its answer, as they come.

        Raises:
            GenaiError: One of them failed.
        """
        if len(self.streams) == 1:
            async for piece in self.streams[0]:
                yield 0, piece
            return
        arrived: asyncio.Queue[tuple[int, Piece] | Exception | None] = asyncio.Queue()
        readers = [asyncio.create_task(_read(*each, arrived)) for each in enumerate(self.streams)]
        try:
            num_open = len(readers)
            while num_open:
                item = await arrived.get()
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    num_open -= 1
                else:
                    yield item
        finally:
            for reader in readers:
                reader.cancel()

    def cancel(self) -> None:
        """Ask all to end before the next step; does nothing to what has ended."""
        for stream in self.streams:
            stream.cancel()


def _check_context(request: CompletionRequest, context_length: int) -> None:
    if request.num_context is not None and request.num_context > context_length:
        raise OptionError(
            f"num_context is {request.num_context}, but the context holds {context_length} tokens: genai serve --max-context "
            "and the model decide",
            option="num_context",
        )


async def _read(
    number: int, stream: AsyncGenerationStream, arrived: asyncio.Queue[tuple[int, Piece] | Exception | None]
) -> None:
    try:
        async for piece in stream:
            arrived.put_nowait((number, piece))
        arrived.put_nowait(None)
    except Exception as error:  # noqa: BLE001 - whoever waits raises it
        arrived.put_nowait(error)
