"""Anthropic's messages, from the body to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from genai.engine import GenerationResult
from genai.wire.anthropic.answers import message_body
from genai.wire.anthropic.requests import read_messages_request
from genai.wire.anthropic.stream import MessageEvents
from genai.wire.exchange import AnswerFacts, CompletionRequest
from genai.wire.framing import NAMED_EVENTS, Framing

__all__ = ["AnthropicMessages"]


@dataclass(frozen=True, slots=True)
class AnthropicMessages:
    """A conversation to be answered.

    Args:
        request: What it asks for.
    """

    request: CompletionRequest
    framing: ClassVar[Framing] = NAMED_EVENTS

    @classmethod
    def read(cls, body: Any) -> Self:
        """Read a body, as `read_messages_request` says.

        Raises:
            BodyError: A field is missing, unknown, or not of the type that it should be.
        """
        return cls(read_messages_request(body))

    def answer(self, results: Sequence[GenerationResult], facts: AnswerFacts) -> dict[str, Any]:
        """Return the body that answers it."""
        (result,) = results
        return message_body(result, facts)

    def events(self, facts: AnswerFacts) -> MessageEvents:
        """Return what writes its answer while it comes."""
        return MessageEvents(facts)
