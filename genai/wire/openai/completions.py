"""OpenAI's chat completions and completions, from the body to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from genai.engine import GenerationResult
from genai.wire.exchange import AnswerFacts, CompletionRequest
from genai.wire.framing import EVENTS, Framing
from genai.wire.openai.answers import completion_body
from genai.wire.openai.requests import read_completion
from genai.wire.openai.stream import CompletionChunks

__all__ = ["Completion"]


@dataclass(frozen=True, slots=True)
class Completion:
    """A conversation to be answered, or texts to be continued.

    Args:
        request: What it asks for.
        is_chat: Whether it is a conversation.
        includes_usage: Whether a stream's last event is to say what it took.
    """

    request: CompletionRequest
    is_chat: bool
    includes_usage: bool = False
    framing: ClassVar[Framing] = EVENTS

    @classmethod
    def read_chat(cls, body: Any) -> Self:
        """Read the body of a chat completion; a field that is null is left out.

        Raises:
            BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
                own checks find, when the request is built.
        """
        request, includes_usage = read_completion(body, is_chat=True)
        return cls(request, True, includes_usage)

    @classmethod
    def read_text(cls, body: Any) -> Self:
        """Read the body of a completion, as `read_chat` does the other's."""
        request, includes_usage = read_completion(body, is_chat=False)
        return cls(request, False, includes_usage)

    def answer(self, results: Sequence[GenerationResult], facts: AnswerFacts) -> dict[str, Any]:
        """Return the body that answers it."""
        return completion_body(self.request, results, facts, is_chat=self.is_chat)

    def events(self, facts: AnswerFacts) -> CompletionChunks:
        """Return what writes its answer while it comes."""
        return CompletionChunks(self.request, facts, is_chat=self.is_chat, includes_usage=self.includes_usage)
