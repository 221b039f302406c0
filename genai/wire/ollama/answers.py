"""Ollama's chats and generations, from the body to the answer, whole or as lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from genai.config import ToolCall
from genai.engine import GenerationResult, Piece
from genai.errors import GenaiError
from genai.wire.exchange import AnswerFacts, CompletionRequest, Event
from genai.wire.framing import LINES, Framing
from genai.wire.ollama.durations import date, nanoseconds
from genai.wire.ollama.errors import error_body
from genai.wire.ollama.requests import read_chat_request, read_generate_request
from genai.wire.openai.logprobs import chat_logprobs
from genai.wire.whole_calls import WholeCalls

__all__ = ["OllamaAnswer"]


@dataclass(frozen=True, slots=True)
class OllamaAnswer:
    """A conversation, or a prompt, to be answered; or a model to be loaded, or let go.

    Args:
        request: What it asks for.
        is_chat: Whether it is a conversation.
    """

    request: CompletionRequest
    is_chat: bool
    framing: ClassVar[Framing] = LINES

    @classmethod
    def read_chat(cls, body: Any) -> Self:
        """Read the body of a chat.

        Raises:
            BodyError: A field is missing, unknown, or not of the type that it should be.
        """
        return cls(read_chat_request(body), True)

    @classmethod
    def read_generate(cls, body: Any) -> Self:
        """Read the body of a generation, as `read_chat` does a chat's."""
        return cls(read_generate_request(body), False)

    def answer(self, results: Sequence[GenerationResult], facts: AnswerFacts) -> dict[str, Any]:
        """Return the body that answers it."""
        if not results:
            return {**self.line(facts, ""), **self._nothing()}
        (result,) = results
        said = self.line(
            facts, result.text, thinking=result.reasoning, calls=result.tool_calls, logprobs=result.logprobs
        )
        return {**said, **_end(result, facts)}

    def events(self, facts: AnswerFacts) -> _Lines:
        """Return what writes its answer while it comes."""
        return _Lines(self, facts)

    def line(
        self,
        facts: AnswerFacts,
        text: str,
        *,
        thinking: str = "",
        calls: Sequence[ToolCall] = (),
        logprobs: Any = None,
    ) -> dict[str, Any]:
        """Return a line that says a part of an answer, or all of it."""
        line: dict[str, Any] = {"model": facts.model, "created_at": date(facts.created)}
        more: dict[str, Any] = {"thinking": thinking} if thinking else {}
        if calls:
            more["tool_calls"] = [_call(call) for call in calls]
        if self.is_chat:
            line["message"] = {"role": "assistant", "content": text, **more}
        else:
            line |= {"response": text, **more}
        if logprobs:
            line["logprobs"] = chat_logprobs(logprobs, facts.tokenizer())["content"]
        return {**line, "done": False}

    def _nothing(self) -> dict[str, Any]:
        """Return how an answer ends to a request for none."""
        return {"done": True, "done_reason": "unload" if self.request.keep_alive == 0 else "load"}


class _Lines:
    """Makes the lines of one answer, which together say what `OllamaAnswer.answer` would at once; the last has the figures."""

    def __init__(self, asked: OllamaAnswer, facts: AnswerFacts) -> None:
        self._asked = asked
        self._facts = facts
        self._calls = WholeCalls()

    @property
    def _now(self) -> AnswerFacts:
        """The facts, as a line tells them that comes now."""
        return dataclasses.replace(self._facts, created=self._facts.clock())

    def begin(self) -> Iterator[Event]:
        """Yield what comes before all pieces: nothing."""
        yield from ()

    def of_piece(self, number: int, piece: Piece) -> Iterator[Event]:  # noqa: ARG002 - there is one prompt
        """Yield what a piece adds."""
        calls = self._calls.take(piece)
        if piece.text or piece.reasoning or calls or piece.logprobs:
            yield self._asked.line(
                self._now, piece.text, thinking=piece.reasoning, calls=calls, logprobs=piece.logprobs
            )

    def end(self, results: Sequence[GenerationResult]) -> Iterator[Event]:
        """Yield the last line."""
        if not results:
            yield self._asked.answer([], self._now)
        for result in results:
            yield {**self._asked.line(self._now, ""), **_end(result, self._facts)}

    def fail(self, error: GenaiError) -> Iterator[Event]:
        """Yield what comes last where something went wrong."""
        yield error_body(error)


def _end(result: GenerationResult, facts: AnswerFacts) -> dict[str, Any]:
    """Return why an answer has ended, and its figures."""
    stats = result.stats
    first = stats.time_to_first_token_seconds
    return {
        "done": True,
        "done_reason": "length" if result.finish_reason == "length" else "stop",
        "total_duration": nanoseconds(facts.load_seconds + stats.total_seconds),
        "load_duration": nanoseconds(facts.load_seconds),
        "prompt_eval_count": stats.prompt_tokens,
        "prompt_eval_duration": nanoseconds(first),
        "eval_count": stats.generated_tokens,
        "eval_duration": nanoseconds(stats.total_seconds - first),
    }


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
