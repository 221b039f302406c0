"""OpenAI's chat completions and completions, from the body to the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from genai.engine import GenerationResult
from genai.wire.exchange import AnswerFacts, CompletionRequest
from genai.wire.framing import EVENTS, Framing
from genai.wire.openai.answers import completion_body
from genai.wire.openai.requests import CompletionBody, read_completion
from genai.wire.openai.stream import CompletionChunks

__all__ = ["Completion"]


@dataclass(frozen=True, slots=True)
class Completion:
    """A conversation to be answered, or texts to be continued.

    Args:
        body: The body that asks for it.
        is_chat: Whether it is a conversation.
    """

    body: CompletionBody
    is_chat: bool
    framing: ClassVar[Framing] = EVENTS

    @classmethod
    def read_chat(cls, body: Any) -> Self:
        """Read the body of a chat completion; a field that is null is left out.

        Raises:
            BodyError: A field is missing, unknown, or not of the type that it should be. What else is impossible the options'
                own checks find, when the request is built.
        """
        return cls(read_completion(body, is_chat=True), True)

    @classmethod
    def read_text(cls, body: Any) -> Self:
        """Read the body of a completion, as `read_chat` does the other's."""
        return cls(read_completion(body, is_chat=False), False)

    @property
    def request(self) -> CompletionRequest:
        """What it asks for."""
        return self.body.request

    def answer(self, results: Sequence[GenerationResult], facts: AnswerFacts) -> dict[str, Any]:
        """Return the body that answers it."""
        if not self.body.generates:
            results = [_prompt_alone(result, facts, echoes=self._echoes) for result in results]
        elif not self.body.tells_reasoning:
            results = list(map(_without_reasoning, results))
        return completion_body(self.request, results, facts, is_chat=self.is_chat)

    def events(self, facts: AnswerFacts) -> CompletionChunks:
        """Return what writes its answer while it comes."""
        return CompletionChunks(
            self.request,
            facts,
            is_chat=self.is_chat,
            includes_usage=self.body.includes_usage,
            tells_reasoning=self.body.tells_reasoning,
        )

    @property
    def _echoes(self) -> bool:
        return bool(self.request.options.get("echo"))


def _prompt_alone(result: GenerationResult, facts: AnswerFacts, *, echoes: bool) -> GenerationResult:
    """Return a result without the one token that it took to score its prompt."""
    return dataclasses.replace(
        result,
        text=facts.tokenizer().decode(result.prompt_token_ids) if echoes else "",
        token_ids=(),
        finish_reason="length",
        logprobs=None if result.logprobs is None else (),
        choices=(),
        stats=dataclasses.replace(result.stats, generated_tokens=0),
    )


def _without_reasoning(result: GenerationResult) -> GenerationResult:
    choices = tuple(dataclasses.replace(choice, reasoning="") for choice in result.choices)
    return dataclasses.replace(result, reasoning="", choices=choices)
