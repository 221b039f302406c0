"""One running generation as an iterator that a signal handler can stop, and that knows its result.

It takes one engine step at a time and looks at the wish to stop in between, so that Ctrl-C never interrupts a step
and still gets through while a long prompt is being prefilled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from genai.config import Message
from genai.engine import Engine, GenerationResult, Piece, Request
from genai.generator import Generator

__all__ = ["TextStream", "stream_chat", "stream_text"]


class TextStream:
    """The pieces of one request as they come.

    Beam search, whose text may change until the end, comes as one piece at the end.

    Args:
        engine: The engine that the request was submitted to.
        request: The request.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self._request = request
        self._is_cancelled = False
        self._is_told = False

    @property
    def result(self) -> GenerationResult | None:
        """How the prompt was continued; None while it runs."""
        return self._request.result

    def cancel(self) -> None:
        """Ask for an end before the next step; safe in a signal handler. What came so far is the result."""
        self._is_cancelled = True

    def close(self) -> None:
        """End now; does nothing if it has ended."""
        self._engine.cancel(self._request)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        request = self._request
        while not request.pieces and not request.is_finished:
            if self._is_cancelled:
                self._engine.cancel(request)
            else:
                self._engine.advance(request)
        if request.pieces:
            return request.pieces.popleft()
        if request.error is not None:
            raise request.error
        if request.stream or self._is_told:
            raise StopIteration
        assert request.result is not None
        self._is_told = True
        result = request.result
        return Piece(result.text, result.token_ids, result.finish_reason, result.logprobs)


def stream_text(generator: Generator, prompt: str, options: Mapping[str, Any]) -> TextStream:
    """Begin to continue a prompt.

    Raises:
        OptionError: An option is impossible, or the prompt does not fit the context.
    """
    return _begin(generator, generator.tokenizer.encode(prompt), options)


def stream_chat(
    generator: Generator,
    messages: Sequence[Message],
    options: Mapping[str, Any],
    *,
    template_options: Mapping[str, Any],
) -> TextStream:
    """Begin to answer a conversation.

    Raises:
        OptionError: An option is impossible, or the conversation does not fit the context.
        ChatTemplateError: The model has no chat template, or it refuses the conversation.
    """
    return _begin(generator, generator.tokenizer.encode_chat(messages, **template_options), options)


def _begin(generator: Generator, token_ids: Sequence[int], options: Mapping[str, Any]) -> TextStream:
    is_streamed = generator.folder.generation.merge(**options).num_beams == 1
    request = generator._request(token_ids, None, options, stream=is_streamed)
    generator._submit([request])
    return TextStream(generator._engine, request)
