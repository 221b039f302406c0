"""One response, from the body that asks for it to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from genai.engine import GenerationResult, Piece
from genai.wire.exchange import AnswerFacts, CompletionRequest
from genai.wire.framing import NAMED_EVENTS, Framing
from genai.wire.openai.answers import choices_of
from genai.wire.openai.responses.events import ResponseEvents
from genai.wire.openai.responses.requests import ResponseSettings, read_response

__all__ = ["ModelResponse"]


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """A conversation to be answered.

    Args:
        request: What it asks for.
        settings: What its answer says of that.
    """

    request: CompletionRequest
    settings: ResponseSettings
    framing: ClassVar[Framing] = NAMED_EVENTS

    @classmethod
    def read(cls, body: Any) -> Self:
        """Read the body of a response; a field that is null is left out.

        Raises:
            BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
                own checks find, when the request is built.
        """
        return cls(*read_response(body))

    def answer(self, results: Sequence[GenerationResult], facts: AnswerFacts) -> dict[str, Any]:
        """Return the body that answers it: what the last event of a stream says."""
        events = self.events(facts)
        for result in results:
            for choice in choices_of(result):
                list(events.of_piece(0, Piece.of_choice(choice, 0)))
        *_, last = events.end(results)
        response: dict[str, Any] = last["response"]
        return response

    def events(self, facts: AnswerFacts) -> ResponseEvents:
        """Return what writes its answer while it comes."""
        return ResponseEvents(self.settings, facts)
